"""Several trainings that differ by their seed alone: how large chance is."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from config import Config
from dataset import EvaluationPair
from evaluation.scores import METRICS, mean_and_deviation, mean_score
from fsrcnn.network import load_network

VALIDATION = "validation"

Score = dict[str, float]  # psnr in dB and ssim


def seeds_of(config: Config) -> tuple[int, ...]:
    """The seed of each training that the configuration asks for."""
    if not config.seeds:
        return (config.seed,)
    if len(config.seeds) > 1:
        return config.seeds
    return tuple(range(config.seed, config.seed + config.seeds[0]))


def scores_of(
    run: Config, sets: Mapping[str, Callable[[int], Iterator[EvaluationPair]]], device: str
) -> dict[str, Score]:
    """The scores of a finished run's best weights: on the validation pictures, as its json says, and on each set."""
    folder, (scale,) = run.results_dir / run.exp_name, run.upscale_factor
    network = load_network(folder / "best.safetensors", scale, device)
    said = json.loads((folder / "best.json").read_text(encoding="utf-8"))[VALIDATION]
    scores = {VALIDATION: {metric: said[metric] for metric in METRICS}}
    return scores | {name: mean_score(network, pairs_at(scale), run.border) for name, pairs_at in sets.items()}


def spread(scores: Mapping[int, dict[str, Score]]) -> dict[str, Any]:
    """For each set and metric the seeds' scores, their mean and their standard deviation (see
    `mean_and_deviation`).

    scores: by seed and set, of two seeds or more.
    """
    spreads: dict[str, Any] = {}
    for name in next(iter(scores.values())):
        spreads[name] = {}
        for metric in METRICS:
            each = {seed: of_sets[name][metric] for seed, of_sets in scores.items()}
            mean, deviation = mean_and_deviation(list(each.values()))
            spreads[name][metric] = {"mean": mean, "standard_deviation": deviation, "seeds": each}
    return spreads


def print_spread(name: str, spreads: dict[str, Any]) -> None:
    """Prints a table: a row for each seed, the mean and the standard deviation, a column for each set."""
    width = max(18, *map(len, spreads))
    print(f"\n{name:<20}" + "".join(f" {set_name:>{width}}" for set_name in spreads))
    for seed in next(iter(spreads.values()))["psnr"]["seeds"]:
        scores = [[of_set[metric]["seeds"][seed] for metric in METRICS] for of_set in spreads.values()]
        print(_line(f"seed {seed}", scores, width))
    for row in ("mean", "standard_deviation"):
        scores = [[of_set[metric][row] for metric in METRICS] for of_set in spreads.values()]
        known = [[math.nan if score is None else score for score in of_set] for of_set in scores]
        print(_line(row.replace("_", " "), known, width))


def _line(head: str, scores: Iterable[list[float]], width: int) -> str:
    return f"{head:<20}" + "".join(f" {f'{psnr:.3f} / {ssim:.4f}':>{width}}" for psnr, ssim in scores)
