"""The limiter: an enlarged picture stays near the range of the small picture's pixels around each of its own.

The networks ring: one white pixel on black comes back with 4 to 10 times its light. `luma.py` says how far results may
go. `Network` itself does not limit; what makes pictures and videos of its results does: pictures/pixels.py together
with the colours, `limit_samples` for videos.
"""

from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from fsrcnn import native
from fsrcnn.luma import LIMIT_REACH, LIMIT_WIDENING

if native.HOST:
    from fsrcnn.native import limits as compiled

Plane = TypeVar("Plane", bound=NDArray[Any])

_AROUND = np.ones([2 * LIMIT_REACH + 1] * 2, np.uint8)


def extremes(lr: Plane) -> tuple[Plane, Plane]:
    """The least and the greatest of the pixels around each, LIMIT_REACH to each side as far as the plane goes.

    lr: H x W of uint8, uint16 or float32; returns two new arrays of the same shape and type.
    """
    return cv2.erode(lr, _AROUND), cv2.dilate(lr, _AROUND)


def limits(least: NDArray[Any], greatest: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Between which the enlarged pixels must lie, in float64; least, greatest: of `extremes`."""
    lowest, highest = least.astype(np.float64), greatest.astype(np.float64)
    widening = LIMIT_WIDENING * (highest - lowest)
    return lowest - widening, highest + widening


def enlarged_by_repeating(plane: NDArray[Any], scale: int) -> NDArray[Any]:
    """H x W to scale*H x scale*W."""
    return plane.repeat(scale, 0).repeat(scale, 1)


def plain_limit(least: NDArray[Any], greatest: NDArray[Any], sr: NDArray[Any]) -> None:
    """Limits samples, uint8 or uint16, scale*H x scale*W, in place, rounded (halves up). Computed in float64."""
    scale = len(sr) // len(least)
    low, high = (enlarged_by_repeating(each, scale) for each in limits(least, greatest))
    sr[:] = np.floor(np.clip(sr, low, high) + 0.5)


_limit = partial(compiled.limit, target=native.HOST) if native.HOST else plain_limit


def limit_samples(lr: NDArray[np.uint8 | np.uint16], sr: NDArray[np.uint8 | np.uint16]) -> None:
    """Limits the samples of a video's luma in place. lr: H x W; sr: scale*H x scale*W of the same type; rows may have
    gaps.
    """
    _limit(*extremes(lr), sr)
