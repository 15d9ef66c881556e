"""Scores weights on test sets by the paper's protocol: `python validate.py --upscale-factor 3`."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from config import Config, read_config
from dataset import write_image
from evaluation.comparison import labelled, stacked
from evaluation.differences import Difference, differences, pictures_table, print_differences, write_csv
from evaluation.integers import SimulatedIntegers
from evaluation.scores import print_table, score_set, told_apart
from evaluation.sets import test_sets
from fsrcnn.devices import select_device
from fsrcnn.ensemble import Ensemble
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


class Scored(NamedTuple):
    """A network to score: the weights, their file, and whether its results are the means of eight."""

    path: Path
    weights: Weights
    ensemble: bool

    def __str__(self) -> str:
        return f"{self.path}, the mean of eight" if self.ensemble else f"{self.path}"


def load_networks(config: Config) -> dict[str, Scored]:
    """The networks to score by name: the file's, or its folder's for a run's best.safetensors; the means' with a +."""
    found: dict[str, Scored] = {}
    scale_of_others = config.upscale_factor[0] if len(config.upscale_factor) == 1 else None
    files = told_apart(chosen_files(config), weights_name)
    for name, path in files.items():
        weights = load_weights(path, scale_of_others)
        if weights.upscale_factor not in config.upscale_factor:
            scale, wanted = weights.upscale_factor, ", ".join(f"x{wanted}" for wanted in config.upscale_factor)
            raise RequestError(f"weights: {path} is for x{scale}, expected {wanted}; add --upscale-factor {scale}")
        found[name] = Scored(path, weights, ensemble=False)
        if config.ensemble:
            found[f"{name}+"] = Scored(path, weights, ensemble=True)
    if len(found) < len(files) * (1 + config.ensemble):
        raise RequestError("weights: a file's name is that of another one and a +, as the mean of eight has; rename it")
    return found


def main() -> None:
    config = read_config("valid", __doc__)
    device = str(select_device(config.device))
    networks, sets = load_networks(config), test_sets(config.test_sets, config.data_dir)
    folder = config.results_dir / "test" / (config.exp_name or config.variant)
    metrics: dict[str, dict[str, Any]] = {}
    rows: list[NDArray[np.uint8]] = []
    shown: set[str] = set()
    total = len(networks) * sum(each.pictures for each in sets.values())
    with tqdm(total=total, unit="picture", dynamic_ncols=True, disable=None) as bar:
        for name, scored in networks.items():
            metrics[name], candidates = {}, []
            path, weights, _ = scored
            network = SimulatedIntegers(weights) if config.arithmetic == "int16" else network_of(weights, device)
            network = Ensemble(network) if scored.ensemble else network
            for set_name, (own, _, pairs_at) in sets.items():
                pairs, pictures = pairs_at(weights.upscale_factor), folder / name / own
                scores, candidate = score_set(network, pairs, config.border, pictures, shown, bar)
                metrics[name][set_name] = {
                    "weights": path.as_posix(),
                    "sha256": weights.digest,
                    "upscale_factor": weights.upscale_factor,
                    **scores,
                }
                candidates.append(candidate)
            best = max(candidates, key=lambda candidate: candidate.rank)
            rows.append(labelled(best.row, f"{scored}"))
            shown.add(best.name)
    write_json(folder / "metrics.json", metrics)
    write_csv(folder / "pictures.csv", pictures_table(metrics))
    compared = differences(metrics)
    write_csv(folder / "differences.csv", [Difference._fields, *compared])
    write_image(folder / "comparison.png", stacked(rows))
    print_table(metrics)
    if compared:
        print_differences(compared)
    print("\nPSNR in dB and SSIM of the luma, by the paper's protocol. The weights:")
    for name, scored in networks.items():
        print(f"  {name}: {scored}")
    print(f"{folder} holds the scores (metrics.json, pictures.csv, differences.csv), comparison.png and the recovered")
    print("pictures of each weights file and set.")


if __name__ == "__main__":
    run_script(main)
