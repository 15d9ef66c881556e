"""The weights of MATLAB's bicubic ``imresize``: of any resize along an axis, and of the phases of an enlargement."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REACH = 2  # of the bicubic kernel to each side, in pixels of the small picture
BYTES_OF_POSITION = 56  # of all arrays of `contributions` together, for each output sample's each one
TAPS = 2 * REACH + 1  # of a phase of an enlargement, at most


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5 at the positions x (MATLAB ``imresize``, 'bicubic')."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= REACH, far, 0.0))


def contributions(
    in_length: int, out_length: int, scale: float, shift: float = 0.0, start: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Weights and indices of the input samples that make up each output sample, out_length x taps each (MATLAB
    ``imresize``, ``contributions``).

    Reducing widens the kernel by 1/scale against aliasing; beyond the border the signal is mirrored, the edge sample
    counting twice. shift: input samples by which each output sample lies further on than MATLAB has it. start: the
    first output sample; there are `out_length` from there on.
    """
    stretch = min(scale, 1.0)
    width = 2 * REACH / stretch
    centre = (np.arange(start, start + out_length) + 0.5) / scale - 0.5 + shift
    first = np.floor(centre - width / 2).astype(np.intp) + 1
    positions = first[:, None] + np.arange(int(np.ceil(width)) + 1)
    weights = cubic((centre[:, None] - positions) * stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = positions % (2 * in_length)
    indices = np.where(mirrored < in_length, mirrored, 2 * in_length - 1 - mirrored)
    used = weights.any(axis=0)
    return weights[:, used], indices[:, used]


class Axis(NamedTuple):
    """A resize along an axis: the `contributions` of its output samples, as the functions of reduce.py take them."""

    weights: NDArray[np.float32]
    indices: NDArray[np.int64]


def axis_of(in_length: int, out_length: int, scale: float | None = None, shift: float = 0.0) -> Axis:
    """The resize of an axis. scale: None: the ratio of the lengths. shift: as for `contributions`."""
    return _axis(*contributions(in_length, out_length, scale or out_length / in_length, shift))


def part_of_axis(in_length: int, out_length: int, start: int, stop: int) -> Axis:
    """The output samples from `start` to `stop` of `axis_of`: of a long axis all of them take far more memory than the
    picture.
    """
    return _axis(*contributions(in_length, stop - start, out_length / in_length, start=start))


def _axis(weights: NDArray[np.float64], indices: NDArray[np.intp]) -> Axis:
    return Axis(weights.astype(np.float32), np.ascontiguousarray(indices, np.int64))


def bytes_to_make(in_length: int, out_length: int) -> int:
    """What `axis_of` needs at its peak."""
    positions = math.ceil(2 * REACH * max(in_length / out_length, 1)) + 1
    return BYTES_OF_POSITION * positions * out_length


def phase_weights(upscale_factor: int, subsampling: int = 1, offset: float = 0.0) -> NDArray[np.float32]:
    """The weights of each phase of an enlargement, scale x TAPS: a sample becomes `scale` samples, each a weighted sum
    of it and the two on each side of it.

    offset: of a sample from the first of the `subsampling` luma samples it belongs to, in luma samples.
    """
    # Enlarged sample k lies at luma position subsampling * k + offset; `positions` counts that in input samples.
    positions = ((subsampling * np.arange(upscale_factor) + offset + 0.5) / upscale_factor - 0.5 - offset) / subsampling
    weights = cubic(positions[:, None] - np.arange(-REACH, REACH + 1))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
