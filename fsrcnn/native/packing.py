"""An FSRCNN's parameters in the order in which the compiled functions read them.

These are permutations of NumPy arrays of any dtype: of the parameters themselves, or of their numbers.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcnn.geometry import DECONV_KERNEL, phases, phases_taps
from fsrcnn.native.target import Target

Array = NDArray[Any]
Taps = list[tuple[int, int, list[int]]]  # row and column of the kernel, and the outputs that have a weight there


def weights_at(taps: Taps) -> int:
    """How many weights each channel has."""
    return sum(len(outputs) for _, _, outputs in taps)


def deconvolution_taps(upscale_factor: int, target: Target) -> list[Taps]:
    """The taps of each block of phases, which is some whole rows of them; see `geometry.phases_taps`."""
    block, _ = target.blocking(upscale_factor**2, upscale_factor)

    def taps_of(there: Array) -> Taps:
        places = np.argwhere(there.any(axis=0)).tolist()
        return [(row, column, there[:, row, column].nonzero()[0].tolist()) for row, column in places]

    return [taps_of(there) for there in _split(phases_taps(upscale_factor) < DECONV_KERNEL**2, block)]


def pack(parameters: Sequence[Array], upscale_factor: int, target: Target) -> Array:
    """One vector of an FSRCNN's parameters, in the order in which the function compiled for the target reads them.

    parameters: in the order of `Sizes.shapes`.
    """
    *convolutions, deconv, deconv_bias = parameters
    pieces = []
    for weight, bias, slope in zip(*[iter(convolutions)] * 3, strict=True):
        pieces += pack_convolution(weight.reshape(*weight.shape[:2], -1), bias, slope, target)
    block, _ = target.blocking(upscale_factor**2, upscale_factor)
    kernels = _split(phases(deconv, upscale_factor), block)
    for kernel, taps in zip(kernels, deconvolution_taps(upscale_factor, target), strict=True):
        weights = [kernel[output, :, row, column] for row, column, outputs in taps for output in outputs]
        pieces += [np.repeat(deconv_bias, block), np.stack(weights, 1)]
    return np.concatenate([piece.ravel() for piece in pieces])


def pack_convolution(kernel: Array, biases: Array, slopes: Array, target: Target) -> list[Array]:
    """The parameters of a `Convolution`, in order. kernel: outputs x channels x taps."""
    block, _ = target.blocking(len(kernel))
    blocks = zip(*(_split(parameter, block) for parameter in (biases, kernel, slopes)), strict=True)
    return list(
        itertools.chain.from_iterable((bias, weights.transpose(1, 2, 0), slope) for bias, weights, slope in blocks)
    )


def _split(array: Array, size: int) -> list[Array]:
    return [array[first : first + size] for first in range(0, len(array), size)]
