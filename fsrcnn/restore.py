"""How strongly compressed pictures are restored: 0 for the shipped weights, 1 for the restoring ones, or between.

What lies between is in the weights, not in the results: weights interpolated between the two do what weights trained
for one quality do.
"""

import math
from numbers import Real
from pathlib import Path
from typing import Literal

import numpy as np

from fsrcnn.errors import RequestError
from fsrcnn.weights import INTEGER_RANGES, SUFFIX, Tensors, Weights, load_weights

AUTO: Literal["auto"] = "auto"
Restore = float | Literal["auto"]  # a strength from 0 to 1, or chosen for each picture

RESTORING = "_restore"  # at the end of the names of restoring weights

STEPS = 20  # strengths are multiples of 1/20, so that few forms of a network are needed
# The strength for a picture compressed as libjpeg does at a quality; from the validation pictures.
STRENGTHS = {20: 1.0, 30: 0.95, 40: 0.9, 50: 0.84, 60: 0.77, 70: 0.68, 80: 0.5, 90: 0.25, 95: 0.13, 100: 0.0}


def strength_at(quality: float | None) -> float:
    """The strength for a quality of 1 to 100, or less: in steps of 1/STEPS. None: not compressed."""
    if quality is None:
        return 0.0
    return nearest_step(float(np.interp(quality, list(STRENGTHS), list(STRENGTHS.values()))))


def nearest_step(strength: float) -> float:
    """The multiple of 1/STEPS that is nearest to a strength of 0 to 1."""
    return round(strength * STEPS) / STEPS


def checked_restore(value: object) -> Restore:
    """What a caller asks for. Raises RequestError for anything but "auto" and numbers from 0 to 1."""
    if isinstance(value, str) and value == AUTO:
        return AUTO
    if isinstance(value, Real) and not isinstance(value, bool) and value <= 1 and not value < 0:
        return float(value)
    raise RequestError(f"restore: got {_shown(value)}, expected auto or a number from 0 to 1")


def parsed_restore(text: str) -> Restore:
    """As `checked_restore`, of a command line's argument."""
    try:
        number = float(text)
    except ValueError:
        return checked_restore(text)
    return checked_restore(number) if math.isfinite(number) else checked_restore(text)


def _shown(value: object) -> str:
    return repr(value)[:40].encode("ascii", "backslashreplace").decode()


# --- the weights ---


def restoring_path(path: Path) -> Path:
    """Where the restoring weights of a weights file are, if there are any."""
    return path.with_name(f"{path.stem}{RESTORING}{SUFFIX}")


def clean_path(path: Path) -> Path | None:
    """The weights file that a file of restoring weights is beside; None: it is none of these."""
    clean = path.with_name(f"{path.stem.removesuffix(RESTORING)}{SUFFIX}")
    return clean if clean != path and restoring_path(clean) == path and clean.is_file() else None


def restoring_weights(path: Path, weights: Weights) -> Weights | None:
    """The restoring weights beside a weights file, which holds `weights`; None: there are none.

    Raises RequestError, naming the file, if they cannot be read or are of another network.
    """
    beside = restoring_path(path)
    if not beside.is_file():
        return None
    restoring = load_weights(beside)
    if restoring.sizes != weights.sizes:
        raise RequestError(f"{beside}: is of {restoring.sizes}, expected the sizes of {path.name}, {weights.sizes}")
    return restoring


def blended(weights: Weights, restoring: Weights, strength: float) -> Weights:
    """The weights interpolated between two of the same sizes: the first at a strength of 0, the second at 1. Their
    additions are the ranges of the integer form at the nearest step, if the second have those of every step.
    """
    part = np.float32(strength)
    return Weights(
        weights.sizes,
        {name: value + part * (restoring.parameters[name] - value) for name, value in weights.parameters.items()},
        _ranges_at(weights, restoring, strength),
    )


def _ranges_at(weights: Weights, restoring: Weights, strength: float) -> Tensors:
    """The ranges of the integer form for `blended`."""
    step, ranges = round(strength * STEPS), restoring.additions.get(INTEGER_RANGES)
    if not step:
        return weights.additions
    return {} if ranges is None or len(ranges) != STEPS else {INTEGER_RANGES: ranges[step - 1 : step]}
