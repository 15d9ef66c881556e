"""An FSRCNN's parameters in the order in which the compiled functions read them.

These are permutations of NumPy arrays of any dtype: of the parameters themselves, or of their numbers.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcnn.geometry import DECONV_KERNEL, phases, phases_taps
from fsrcnn.integers import IntegerConvolution, IntegerNetwork
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


# --- in pairs of 16-bit integers ---


def even(number: int) -> int:
    """The number, or the next even one: what is stored in pairs is filled up with zeros."""
    return number + number % 2


def pack_integers(network: IntegerNetwork, target: Target) -> NDArray[np.int32]:
    """A network's words in the order in which the function compiled for the target reads them: the deconvolution's
    shift, then each layer's.
    """
    first, *others = network.convolutions
    in_columns = np.pad(first.weights, ((0, 0), (0, 0), (0, 0), (0, 1)))  # the pairs: neighbouring columns
    pieces = [
        np.array([network.deconvolution.shift]),
        *_pack_pairs(first, in_columns.reshape(len(in_columns), -1, 2), target),
    ]
    for layer in others:
        outputs, channels = layer.weights.shape[:2]
        by_tap = np.pad(layer.weights.reshape(outputs, channels, -1), ((0, 0), (0, channels % 2), (0, 0)))
        pairs = by_tap.reshape(outputs, even(channels) // 2, 2, -1).swapaxes(2, 3)
        pieces += _pack_pairs(layer, pairs.reshape(outputs, -1, 2), target)
    deconvolution, scale = network.deconvolution, network.sizes.upscale_factor
    block, _ = target.blocking(scale**2, scale)
    phases, channels = deconvolution.weights.shape[:2]
    in_pairs = np.pad(deconvolution.weights, ((0, 0), (0, channels % 2), (0, 0), (0, 0)))
    words = _words(in_pairs.reshape(phases, even(channels) // 2, 2, *in_pairs.shape[2:]).transpose(0, 1, 3, 4, 2))
    parts = zip(_split(words, block), _split(deconvolution.biases, block), strict=True)
    for (kernel, biases), taps in zip(parts, deconvolution_taps(scale, target), strict=True):
        weights = [kernel[output, :, row, column] for row, column, outputs in taps for output in outputs]
        pieces += [biases, np.stack(weights, 1)]
    return np.concatenate([piece.ravel() for piece in pieces]).astype(np.int32)


def _pack_pairs(layer: IntegerConvolution, pairs: NDArray[np.int16], target: Target) -> list[Array]:
    """The words of a layer: for each block of outputs biases, weights, shifts, lifts, then for pairs of outputs the
    factors.

    pairs: outputs x (channels and taps) x 2.
    """
    odd = len(pairs) % 2
    weights = _words(np.pad(pairs, ((0, odd), (0, 0), (0, 0))))
    per_output = [
        np.pad(each, (0, odd)) for each in (layer.biases, layer.shifts, layer.lifts, layer.positive, layer.negative)
    ]
    block, _ = target.blocking(len(weights), 2)
    pieces = []
    blocks = zip(*(_split(each, block) for each in (weights, *per_output)), strict=True)
    for kernel, biases, shifts, lifts, *factors in blocks:
        pieces += [biases, kernel.T, shifts, lifts, *(_words(factor.reshape(-1, 2)) for factor in factors)]
    return pieces


def _words(pairs: NDArray[np.int16]) -> NDArray[np.int32]:
    """... x 2 numbers as words: the first in the lower half."""
    return np.ascontiguousarray(pairs).astype("<i2").view("<i4")[..., 0]


def _split(array: Array, size: int) -> list[Array]:
    return [array[first : first + size] for first in range(0, len(array), size)]
