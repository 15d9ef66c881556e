"""Scores weights on test sets by the paper's protocol: `python validate.py --upscale-factor 3`."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from config import Config, read_config
from dataset import SAMPLES, EvaluationPair, folder_pairs, samples, set_folder
from devices import select_device
from errors import RequestError, run_script
from files import list_images, write_image, write_json
from inference.comparison import Candidate, Scores, recover_colour, sheet_row, stacked
from inference.parts import upscale_luma
from inference.weights import load_weights, shipped_weights, weights_name
from model import FSRCNN


def matching(path: Path) -> list[Path]:
    """The files that a pattern (runs/*.pth) means, which Windows' shells leave to programs; else the path itself."""
    return [path] if path.exists() else sorted(path.parent.glob(path.name)) or [path]


def load_models(config: Config) -> dict[str, FSRCNN]:
    """The networks to score by name: the weights file's, or its folder's for a run's best.pth."""
    shipped = [shipped_weights(config.variant, scale) for scale in config.upscale_factor]
    models: dict[str, FSRCNN] = {}
    scale_of_others = config.upscale_factor[0] if len(config.upscale_factor) == 1 else None
    for path in [path for named in config.weights for path in matching(named)] or shipped:
        name = weights_name(path)
        if name in models:
            raise RequestError(f"weights: two files called {name}; score them in two runs")
        models[name] = load_weights(path, scale_of_others)
        scale = models[name].upscale_factor
        if scale not in config.upscale_factor:
            wanted = ", ".join(f"x{wanted}" for wanted in config.upscale_factor)
            raise RequestError(f"weights: {path} is for x{scale}, asked for was {wanted}; add --upscale-factor {scale}")
    return models


def test_sets(config: Config) -> dict[str, tuple[int, Callable[[int], Iterator[EvaluationPair]]]]:
    """For each set to score on the number of its pictures and what makes their pairs at a scale.

    Where none of the default sets is there yet, that is Samples.
    """
    names = config.test_sets
    if names == Config.test_sets:
        there = tuple(name for name in names if (config.data_dir / name).is_dir())
        if missing := [name for name in names if name not in there]:
            instead = "" if there else "; scoring on Samples, photographs that come with scikit-image, instead"
            print(f"not in {config.data_dir}: {', '.join(missing)} (`python prepare_dataset.py` brings them){instead}")
        names = there or ("Samples",)
    folders = {name: set_folder(config.data_dir, name) for name in names if name != "Samples"}
    if len({folder.resolve().name for folder in folders.values()}) < len(names) - ("Samples" in names):
        raise RequestError("test_sets: two sets or folders of one name; score them in two runs")
    sets = {name: (len(list_images(folder)), partial(folder_pairs, folder)) for name, folder in folders.items()}
    return sets | ({"Samples": (len(SAMPLES), samples)} if "Samples" in names else {})


def mean_scores(images: dict[str, Scores]) -> Scores:
    """The mean over the pictures of each method's PSNR and SSIM."""
    return {
        method: {
            metric: float(np.mean([scores[method][metric] for scores in images.values()]))
            for metric in ("psnr", "ssim")
        }
        for method in ("bicubic", "fsrcnn")
    }


def score_set(
    model: torch.nn.Module, pairs: Iterator[EvaluationPair], border: str, folder: Path, shown: set[str], bar: tqdm
) -> tuple[dict[str, Any], Candidate]:
    """Scores a model on a set and writes the recovered pictures into the folder.

    Returns the set's entry of metrics.json and its candidate for the sheet, if possible a picture not shown yet.
    """
    images: dict[str, Scores] = {}
    best: Candidate | None = None
    for pair in pairs:
        bicubic, sr = pair.bicubic(), upscale_luma(model, pair.lr, border)
        scores = images[pair.name] = {"bicubic": pair.score(bicubic), "fsrcnn": pair.score(sr)}
        write_image(folder / f"{pair.name}.png", recover_colour(pair, sr))
        gain = scores["fsrcnn"]["psnr"] - scores["bicubic"]["psnr"]
        rank = (pair.name not in shown, gain)
        if best is None or rank > best.rank:
            best = Candidate(rank, pair.name, sheet_row(pair, bicubic, sr, scores))
        bar.update()
    return {**mean_scores(images), "images": images}, best


def print_table(metrics: dict[str, dict[str, Any]]) -> None:
    """Prints PSNR in dB and SSIM of every model and set: bicubic, FSRCNN, difference."""
    print(f"\n{'weights':<18} {'set':<12} {'bicubic':>16} {'FSRCNN':>16} {'difference':>18}")
    for name, sets in metrics.items():
        for set_name, entry in sets.items():
            bicubic, fsrcnn = ((entry[method]["psnr"], entry[method]["ssim"]) for method in ("bicubic", "fsrcnn"))
            columns = [f"{psnr:.2f} / {ssim:.4f}" for psnr, ssim in (bicubic, fsrcnn)]
            gain = f"{fsrcnn[0] - bicubic[0]:+.2f} / {fsrcnn[1] - bicubic[1]:+.4f}"
            print(f"{name:<18} {set_name:<12} {columns[0]:>16} {columns[1]:>16} {gain:>18}")


def main() -> None:
    config = read_config("valid", __doc__)
    device = select_device(config.device)
    models, sets = load_models(config), test_sets(config)
    folder = config.results_dir / "test" / (config.exp_name or config.variant)
    metrics: dict[str, dict[str, Any]] = {}
    rows, shown = [], set()
    total = len(models) * sum(count for count, _ in sets.values())
    with tqdm(total=total, unit="picture", dynamic_ncols=True, disable=None) as bar:
        for name, model in models.items():
            metrics[name], candidates = {}, []
            fused = model.fuse().to(device)
            for set_name, (_, pairs_at) in sets.items():
                pictures = folder / name / Path(set_name).resolve().name
                pairs = pairs_at(model.upscale_factor)
                metrics[name][set_name], candidate = score_set(fused, pairs, config.border, pictures, shown, bar)
                candidates.append(candidate)
            best = max(candidates, key=lambda candidate: candidate.rank)
            rows.append(best.row)
            shown.add(best.name)
    write_json(folder / "metrics.json", metrics)
    write_image(folder / "comparison.png", stacked(rows))
    print_table(metrics)
    print(f"\nPSNR in dB and SSIM of the luma, by the paper's protocol. In {folder}: metrics.json, comparison.png and,")
    print("for each weights file and set, the recovered pictures.")


if __name__ == "__main__":
    run_script(main)
