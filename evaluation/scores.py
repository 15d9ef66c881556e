"""The scores of a network: on one picture, a list of pictures, a set."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dataset import EvaluationPair, write_image
from evaluation.comparison import Candidate, Scores, recover_colour, sheet_row
from fsrcnn.luma import PEAK
from fsrcnn.network import Network

Border = Literal["zeros", "replicate"]

METRICS = ("psnr", "ssim")
METHODS = ("bicubic", "fsrcnn")


def upscale_luma(network: Network, lr: NDArray[Any], border: Border = "zeros") -> NDArray[np.float32]:
    """Runs a network on one picture.

    lr: H x W luma in 0..255, any real dtype; returns scale*H x scale*W, float32, 0..255, neither rounded nor clipped.
    border: what lies beyond the picture: zeros in every layer, or replicate, the picture's border pixels repeated.
    """
    if border == "replicate":
        margin = network.reach
        inside = slice(network.upscale_factor * margin, -network.upscale_factor * margin)
        return upscale_luma(network, np.pad(lr, margin, mode="edge"))[inside, inside]
    sr = network(np.asarray(lr, dtype=np.float32) / np.float32(PEAK))
    return np.multiply(sr, np.float32(PEAK), out=sr)


def mean_score(network: Network, pairs: Iterable[EvaluationPair], border: Border) -> dict[str, float]:
    """Mean PSNR and SSIM over the pictures."""
    scores = [pair.score(upscale_luma(network, pair.lr, border)) for pair in pairs]
    return {metric: float(np.mean([score[metric] for score in scores])) for metric in METRICS}


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of scores and their standard deviation (that of a sample: n - 1). A single score has none, nor have
    infinite ones, the PSNRs of results that are equal to HR.
    """
    if not all(map(math.isfinite, values)):
        return sum(values) / len(values), None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def score_set(
    network: Network, pairs: Iterator[EvaluationPair], border: Border, folder: Path, shown: set[str], bar: "tqdm[Any]"
) -> tuple[dict[str, Any], Candidate]:
    """Scores a network on a set and writes the recovered pictures into the folder.

    Returns the set's entry of metrics.json and its candidate for the sheet, if possible a picture not shown yet.
    """
    images: dict[str, Scores] = {}
    candidates: list[Candidate] = []
    for pair in pairs:
        bicubic, sr = pair.bicubic(), upscale_luma(network, pair.lr, border)
        scores = images[pair.name] = {"bicubic": pair.score(bicubic), "fsrcnn": pair.score(sr)}
        write_image(folder / f"{pair.name}.png", recover_colour(pair, sr))
        rank = (pair.name not in shown, scores["fsrcnn"]["psnr"] - scores["bicubic"]["psnr"])
        if not candidates or rank > candidates[-1].rank:
            candidates = [Candidate(rank, pair.name, sheet_row(pair, bicubic, sr, scores))]
        bar.update()
    return {**_means(images), "images": images}, candidates[0]


def _means(images: dict[str, Scores]) -> Scores:
    """The mean over the pictures of each method's PSNR and SSIM."""
    return {
        method: {metric: float(np.mean([scores[method][metric] for scores in images.values()])) for metric in METRICS}
        for method in METHODS
    }


def told_apart(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, Path]:
    """Each of the paths once, by its name. Where several have the same name, it is preceded by as many of their folders
    as tell them apart: a/fsrcnn_x2, b/fsrcnn_x2.
    """
    different = list({path.resolve(): path for path in paths}.values())

    def names(folders: int) -> list[str]:
        above = [path.resolve().parents if path.stem != "best" else path.resolve().parent.parents for path in different]
        kept = [[folder.name for folder in list(each)[:folders]][::-1] for each in above]
        return ["/".join([*each, name(path)]) for each, path in zip(kept, different, strict=True)]

    short, longer = names(0), itertools.count(1)
    while len(set(short)) < len(different):
        long = names(next(longer))
        short = [long[i] if short.count(each) > 1 else each for i, each in enumerate(short)]
    return dict(zip(short, different, strict=True))


def print_table(metrics: dict[str, dict[str, Any]]) -> None:
    """Prints PSNR in dB and SSIM of every network and set: bicubic, FSRCNN, difference."""
    width = max(18, *map(len, metrics))
    print(f"\n{'weights':<{width}} {'set':<12} {'bicubic':>16} {'FSRCNN':>16} {'difference':>18}")
    for name, sets in metrics.items():
        for set_name, entry in sets.items():
            bicubic, fsrcnn = ((entry[method]["psnr"], entry[method]["ssim"]) for method in METHODS)
            columns = [f"{psnr:.2f} / {ssim:.4f}" for psnr, ssim in (bicubic, fsrcnn)]
            gain = f"{fsrcnn[0] - bicubic[0]:+.2f} / {fsrcnn[1] - bicubic[1]:+.4f}"
            print(f"{name:<{width}} {set_name:<12} {columns[0]:>16} {columns[1]:>16} {gain:>18}")
