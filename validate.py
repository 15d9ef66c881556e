"""Scores weights on test sets by the paper's protocol: `python validate.py --upscale-factor 3`."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from config import PUBLIC_TEST_SETS, Config, read_config
from dataset import SAMPLE_PICTURES, EvaluationPair, folder_pairs, list_images, sample_pairs, set_folder, write_image
from evaluation.comparison import labelled, stacked
from evaluation.integers import SimulatedIntegers
from evaluation.scores import print_table, score_set, told_apart
from fsrcnn.devices import select_device
from fsrcnn.errors import RequestError, run_script
from fsrcnn.files import is_hidden, write_json
from fsrcnn.network import network_of
from fsrcnn.weights import Weights, load_weights, shipped_weights, weights_name


def matching(path: Path) -> list[Path]:
    """The files that match a pattern (runs/*.pth), which Windows' shells do not expand; else the path itself."""
    if path.exists():
        return [path]
    found = sorted(each for each in path.parent.glob(path.name) if not is_hidden(Path(each.name)))
    return found or [path]


def chosen_files(config: Config) -> list[Path]:
    """The weights files to score: those of `weights`, else that of the run `exp_name`, else the shipped ones."""
    if config.weights:
        return [path for named in config.weights for path in matching(named)]
    of_run = config.results_dir / config.exp_name / "best.safetensors"
    if of_run.is_file() and config.exp_name:
        return [of_run]
    if config.exp_name:
        print(f"no run {config.exp_name} in {config.results_dir}: the shipped weights are scored")
    return [_from_here(shipped_weights(config.variant, scale)) for scale in config.upscale_factor]


def _from_here(path: Path) -> Path:
    """The path below the current folder, if it is, which reads better and says nothing of the machine."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def load_networks(config: Config) -> dict[str, tuple[Path, Weights]]:
    """File and weights of each network to score, by name: the file's, or its folder's for a run's best.safetensors."""
    found: dict[str, tuple[Path, Weights]] = {}
    scale_of_others = config.upscale_factor[0] if len(config.upscale_factor) == 1 else None
    for name, path in told_apart(chosen_files(config), weights_name).items():
        weights = load_weights(path, scale_of_others)
        if weights.upscale_factor not in config.upscale_factor:
            scale, wanted = weights.upscale_factor, ", ".join(f"x{wanted}" for wanted in config.upscale_factor)
            raise RequestError(f"weights: {path} is for x{scale}, expected {wanted}; add --upscale-factor {scale}")
        found[name] = path, weights
    return found


class TestSet(NamedTuple):
    """A set to score on. folder: name of the folder for its recovered pictures; pairs_at: takes the scale."""

    folder: str
    pictures: int
    pairs_at: Callable[[int], Iterator[EvaluationPair]]


def test_sets(config: Config) -> dict[str, TestSet]:
    """The sets to score on, by the names they were given; Samples if none of the default sets is there yet."""
    names = config.test_sets
    if names == PUBLIC_TEST_SETS:
        there = tuple(name for name in names if (config.data_dir / name).is_dir())
        if missing := [name for name in names if name not in there]:
            instead = "" if there else "; scoring on Samples, photographs that come with scikit-image, instead"
            print(f"not in {config.data_dir}: {', '.join(missing)} (`python prepare_dataset.py` brings them){instead}")
        names = there or ("Samples",)
    named = {set_folder(config.data_dir, name): name for name in dict.fromkeys(names) if name != "Samples"}
    folders = told_apart(named, lambda folder: folder.resolve().name)
    sets = {
        named[path]: TestSet(own, len(list_images(path)), partial(folder_pairs, path)) for own, path in folders.items()
    }
    return sets | ({"Samples": TestSet("Samples", len(SAMPLE_PICTURES), sample_pairs)} if "Samples" in names else {})


def main() -> None:
    config = read_config("valid", __doc__)
    device = str(select_device(config.device))
    networks, sets = load_networks(config), test_sets(config)
    folder = config.results_dir / "test" / (config.exp_name or config.variant)
    metrics: dict[str, dict[str, Any]] = {}
    rows: list[NDArray[np.uint8]] = []
    shown: set[str] = set()
    total = len(networks) * sum(each.pictures for each in sets.values())
    with tqdm(total=total, unit="picture", dynamic_ncols=True, disable=None) as bar:
        for name, (path, weights) in networks.items():
            metrics[name], candidates = {}, []
            network = SimulatedIntegers(weights) if config.arithmetic == "int16" else network_of(weights, device)
            for set_name, (own, _, pairs_at) in sets.items():
                pairs, pictures = pairs_at(weights.upscale_factor), folder / name / own
                scores, candidate = score_set(network, pairs, config.border, pictures, shown, bar)
                metrics[name][set_name] = {"weights": path.as_posix(), "sha256": weights.digest, **scores}
                candidates.append(candidate)
            best = max(candidates, key=lambda candidate: candidate.rank)
            rows.append(labelled(best.row, f"{path}"))
            shown.add(best.name)
    write_json(folder / "metrics.json", metrics)
    write_image(folder / "comparison.png", stacked(rows))
    print_table(metrics)
    print("\nPSNR in dB and SSIM of the luma, by the paper's protocol. The weights:")
    for name, (path, _) in networks.items():
        print(f"  {name}: {path}")
    print(f"{folder} holds metrics.json, comparison.png and the recovered pictures of each weights file and set.")


if __name__ == "__main__":
    run_script(main)
