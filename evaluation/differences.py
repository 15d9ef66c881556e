"""How networks of one scale differ: picture by picture, and in the mean with its spread over the pictures."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.scores import METRICS, mean_and_deviation
from fsrcnn.files import written_whole

Metrics = dict[str, dict[str, Any]]  # metrics.json: each network's entry of each set


class Difference(NamedTuple):
    """A network's scores of a set less those of another network: mean and standard deviation (see
    `mean_and_deviation`) over the pictures, and how many have a higher, a lower and the same score. PSNR in dB.
    """

    weights: str
    against: str
    set: str
    metric: str
    pictures: int
    mean: float
    standard_deviation: float | None
    better: int
    worse: int
    equal: int


def differences(metrics: Metrics) -> list[Difference]:
    """What each network's scores are against those of the first one of its scale, by set and metric."""
    first: dict[int, str] = {}
    found = []
    for name, sets in metrics.items():
        against = first.setdefault(_scale(sets), name)
        for set_name, entry in sets.items() if name != against else ():
            images, others = entry["images"], metrics[against][set_name]["images"]
            for metric in METRICS:
                pairs = [(images[each]["fsrcnn"][metric], others[each]["fsrcnn"][metric]) for each in images]
                found.append(Difference(name, against, set_name, metric, len(pairs), *_summary(pairs)))
    return found


def _summary(pairs: list[tuple[float, float]]) -> tuple[float, float | None, int, int, int]:
    each = [one - other if one != other else 0.0 for one, other in pairs]  # of infinite PSNRs too
    better, worse = sum(value > 0 for value in each), sum(value < 0 for value in each)
    return *mean_and_deviation(each), better, worse, len(each) - better - worse


def pictures_table(metrics: Metrics) -> Iterator[list[str | float]]:
    """A table of every picture's scores: a header, then a row for each scale, set and picture, with two columns for
    bicubic interpolation and two for each network, empty for one of another scale.
    """
    columns = ["bicubic", *metrics]
    yield ["upscale_factor", "set", "picture", *(f"{column} {metric}" for column in columns for metric in METRICS)]
    for scale in dict.fromkeys(_scale(sets) for sets in metrics.values()):
        of_scale = {name: sets for name, sets in metrics.items() if _scale(sets) == scale}
        for set_name, entry in next(iter(of_scale.values())).items():
            for picture, scores in entry["images"].items():
                row: list[str | float] = [scale, set_name, picture, *(scores["bicubic"][metric] for metric in METRICS)]
                for name in metrics:
                    own = of_scale[name][set_name]["images"][picture]["fsrcnn"] if name in of_scale else {}
                    row += [own.get(metric, "") for metric in METRICS]
                yield row


def _scale(sets: dict[str, Any]) -> int:
    return int(next(iter(sets.values()))["upscale_factor"])


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Writes rows as comma-separated values, floats at full precision."""
    with written_whole(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def print_differences(found: list[Difference]) -> None:
    """Prints the differences in PSNR."""
    width = max(18, *(len(name) for each in found for name in (each.weights, f"against {each.against}")))
    head = f"{'set':<12} {'dB':>8} {'deviation':>10} {'better':>7} {'worse':>7} {'equal':>7}"
    for against in dict.fromkeys(each.against for each in found):
        print(f"\n{f'against {against}':<{width}} {head}")
        for each in found:
            if each.against == against and each.metric == "psnr":
                deviation = "-" if each.standard_deviation is None else f"{each.standard_deviation:.3f}"
                counts = f"{each.better:>7} {each.worse:>7} {each.equal:>7}"
                print(f"{each.weights:<{width}} {each.set:<12} {each.mean:>+8.3f} {deviation:>10} {counts}")
