"""The network in 16-bit integers: what it is made of, how it is made of float32 weights, and its plain form in NumPy.

Every result is a matter of integers alone, so all machines give the same bytes. What the compiled forms do is what
`enlarge` does here:

- Luma, in and out: limited range in steps of 1/32 of an 8-bit level, 0..8160 for 0..255.
- Activations: int16, a range for each channel: what is beyond it is clipped. Zeros beyond the picture in every layer.
- Weights: int16, with the scales of their channels folded in. Sums: int32, which they never exceed: `quantised` bounds
  each by all inputs that there can be.
- After a layer, t = sum >> shift; where it is not negative, t << lift, which is the greater of both. Channels that are
  hardly ever positive, and small where they are negative, so keep more levels. t is saturated to 16 bits.
- Then PReLU and the activation's scale at once: (t * factor + 2^14) >> 15 with one factor for t >= 0 and one for
  t < 0, both the channel's own. pmulhrsw, q15mulr_sat_s and sqrdmulh do just this.
- After the deconvolution, sum >> shift in 1/64 of a level, saturated to 16 bits; rounded from there to luma or samples.
- Shifts are arithmetic; what rounds them is part of the biases.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcnn.errors import RequestError
from fsrcnn.geometry import Sizes, phases
from fsrcnn.luma import BLACK_LEVEL, PEAK, WHITE_LEVEL
from fsrcnn.weights import INTEGER_RANGES, Weights

LumaSteps = NDArray[np.int16]  # H x W luma, in steps of 1/32 of an 8-bit level

FRACTION_BITS = 5  # of luma; 4 lose 0.003 dB of pictures in colour
SUM_FRACTION_BITS = 6  # of what the deconvolution gives, before it is rounded to luma or samples
STEPS = 2**FRACTION_BITS
PEAK_STEPS = STEPS * PEAK
BLACK_STEPS = STEPS * BLACK_LEVEL
# The ends of luma in steps that `enlarge` gives, half of what 16 bits hold: it is saturated before it is rounded.
LEAST_RESULT, GREATEST_RESULT = -(2**14), 2**14 - 1
FACTOR_BITS = 15
LIMIT = 2**15 - 1  # of weights and of factors, either side
SUM_LIMIT = 2**31 - 1
LARGEST_SHIFT, LARGEST_LIFT = 30, 6
MAPPED_PEAK = 2**14


class NotInIntegersError(RequestError):
    """Weights that this form cannot hold."""


@dataclass(frozen=True)
class IntegerConvolution:
    """A convolution with its PReLU."""

    weights: NDArray[np.int16]  # outputs x channels x rows x columns
    biases: NDArray[np.int32]  # outputs; half of 2^shift included
    shifts: NDArray[np.int32]  # outputs; LARGEST_LIFT..LARGEST_SHIFT
    lifts: NDArray[np.int32]  # outputs; 0..LARGEST_LIFT
    positive: NDArray[np.int16]  # outputs: the factors of t that is not negative, 1..LIMIT
    negative: NDArray[np.int16]  # outputs: the factors of negative t, -LIMIT..LIMIT


@dataclass(frozen=True)
class IntegerDeconvolution:
    """The deconvolution as a convolution for all phases at once; see `geometry.phases`."""

    weights: NDArray[np.int16]  # phases x channels x rows x columns, zero where there is no tap
    biases: NDArray[np.int32]  # phases, all alike; half of 2^shift included
    shift: int


@dataclass(frozen=True)
class IntegerNetwork:
    """A network in integers, in the order of its layers."""

    sizes: Sizes
    convolutions: tuple[IntegerConvolution, ...]
    deconvolution: IntegerDeconvolution


# --- made of float32 weights ---


def integer_network(weights: Weights) -> IntegerNetwork | None:
    """The network in integers, with the ranges that its file holds for its own parameters; None: it holds none.

    Raises NotInIntegersError if they do not suit the parameters.
    """
    found = weights.additions.get(INTEGER_RANGES)
    return None if found is None else quantised(weights, found[-1])


def quantised(weights: Weights, ranges: NDArray[np.float32]) -> IntegerNetwork:
    """The network in integers.

    ranges: 2 x outputs of all convolutions in their order, positive: how far below and above zero a sum may be before
    it is clipped.
    Raises NotInIntegersError where a weight, a factor or a sum does not fit.
    """
    *layers, deconv_weight, deconv_bias = (value.astype(np.float64) for value in weights.parameters.values())
    ends = np.cumsum(weights.sizes.outputs)[:-1]
    before, least, greatest = np.array([PEAK_STEPS]), np.array([0]), np.array([PEAK_STEPS])
    convolutions = []
    of_layers = np.split(ranges.astype(np.float64), ends, axis=1)
    for index, (weight, bias, slope, ends) in enumerate(zip(*[iter(layers)] * 3, of_layers, strict=True)):
        per_sum = LIMIT / ends.max(0)
        # What a mapping convolution takes has a bit less, for its weights, whose sums are bounded, to have one more.
        peak = MAPPED_PEAK if 1 <= index <= weights.sizes.m else LIMIT
        per_activation, lifts = _activation_scales(per_sum, ends, abs(slope), peak)
        scales = per_activation / per_sum * 2**FACTOR_BITS
        factors = _rounded(np.stack([np.ldexp(scales, -lifts), scales * slope]))
        layer = [
            _quantised_sum(each * (scale / before)[:, None, None], offset * scale, least, greatest)
            for each, offset, scale in zip(weight, bias, per_sum, strict=True)
        ]
        integers, biases, shifts, sums = (np.array(part) for part in zip(*layer, strict=True))
        convolutions.append(
            IntegerConvolution(
                integers.astype(np.int16),
                biases.astype(np.int32),
                shifts.astype(np.int32),
                lifts.astype(np.int32),
                *factors.astype(np.int16),
            )
        )
        before, (least, greatest) = per_activation, _activation_bounds(sums, shifts, lifts, factors)
    kernels = phases(deconv_weight, weights.upscale_factor).astype(np.float64)
    peak = PEAK * 2**SUM_FRACTION_BITS
    kernels *= peak / before[:, None, None]
    offset = float(deconv_bias[0]) * peak
    # One shift for all phases: the least that any needs.
    shift = min(_quantised_sum(kernel, offset, least, greatest)[2] for kernel in kernels)
    integers, biases, *_ = (
        np.array(part) for part in zip(*(_integers(kernel, offset, shift) for kernel in kernels), strict=True)
    )
    deconvolution = IntegerDeconvolution(integers.astype(np.int16), biases.astype(np.int32), shift)
    return IntegerNetwork(weights.sizes, tuple(convolutions), deconvolution)


def _activation_scales(
    per_sum: NDArray[np.float64], ends: NDArray[np.float64], slope: NDArray[np.float64], peak: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Steps of each channel's activation per unit, and its lift. per_sum: steps of t per unit. ends: as `quantised`'s
    ranges. slope: its magnitude. peak: activations at the ends, or less where t has no more levels.
    """
    below, above = ends
    wanted = peak / np.maximum(above, slope * below)
    finest = per_sum * (LIMIT / 2**FACTOR_BITS)
    lifts = np.minimum(_doublings(wanted / finest) + 1, _doublings(below / above)).clip(0, LARGEST_LIFT)
    return np.minimum(
        wanted, finest * np.minimum(np.ldexp(1.0, lifts), 1 / np.maximum(slope, 2.0**-LARGEST_LIFT))
    ), lifts


def _doublings(ratios: NDArray[np.float64]) -> NDArray[np.int64]:
    """The logarithms to base 2, rounded down, the same on all machines."""
    return np.frexp(ratios)[1].astype(np.int64) - 1


def _rounded(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(values + 0.5).astype(np.int64)


def _integers(weights: NDArray[np.float64], bias: float, shift: int) -> tuple[NDArray[np.int64], int]:
    """The weights and the bias of one sum, which `shift` brings to the scale of these.

    Each channel's weights keep their sum, since neighbouring pixels are alike: of those rounded the one way, as few as
    need be are rounded the other way, the nearest to a half first.
    """
    exact = weights.reshape(len(weights), -1) * 2**shift
    nearest = _rounded(exact)
    rest = exact - nearest
    missing = _rounded(np.cumsum(rest, axis=1)[:, -1:])  # a sum in their order, the same on all machines
    order = np.argsort(-rest * np.sign(missing), axis=1, kind="stable").argsort(axis=1)
    integers = nearest + np.where(order < abs(missing), np.sign(missing), 0)
    return integers.reshape(weights.shape), math.floor(bias * 2**shift + 0.5) + 2 ** (shift - 1)


def sum_bounds(
    weights: NDArray[Any], bias: int, least: NDArray[np.int64], greatest: NDArray[np.int64]
) -> tuple[int, int]:
    """The least and the greatest that a sum can be, and no part of it can exceed.

    weights: channels x rows x columns. least, greatest: of the inputs, by channel; not above and not below zero, which
    is beyond the picture.
    """
    above = np.maximum(weights, 0).astype(np.int64).sum((1, 2))
    below = np.minimum(weights, 0).astype(np.int64).sum((1, 2))
    return min(bias, 0) + int(above @ least + below @ greatest), max(bias, 0) + int(above @ greatest + below @ least)


def _quantised_sum(
    weights: NDArray[np.float64], bias: float, least: NDArray[np.int64], greatest: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int, int, tuple[int, int]]:
    """Weights and bias of one sum in integers, the largest shift at which all fits, the sum's bounds."""
    largest = max(float(abs(weights).max()), abs(bias) / 2**16)
    for shift in range(LARGEST_SHIFT, LARGEST_LIFT - 1, -1):
        if largest * 2**shift > LIMIT:
            continue
        integers, offset = _integers(weights, bias, shift)
        lowest, highest = sum_bounds(integers, offset, least, greatest)
        if max(-lowest, highest) <= SUM_LIMIT and abs(integers).max() <= LIMIT:
            return integers, offset, shift, (lowest, highest)
    raise NotInIntegersError(
        f"{INTEGER_RANGES}: do not suit the weights, whose sums would not fit; run python -m training.calibrate"
    )


def _activation_bounds(
    sums: NDArray[np.int64], shifts: NDArray[np.int64], lifts: NDArray[np.int64], factors: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The least and the greatest activation of each channel. sums: outputs x 2; factors: 2 x outputs."""
    ends = _lifted(sums >> shifts[:, None], lifts[:, None])
    outputs = _activated(np.concatenate([ends, np.zeros_like(ends[:, :1])], axis=1), *factors[:, :, None])
    return outputs.min(1), outputs.max(1)


# --- run, in NumPy ---


def _saturated(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return values.clip(-(2**15), 2**15 - 1)


def _lifted(values: NDArray[np.int64], lifts: NDArray[np.integer]) -> NDArray[np.int64]:
    """t of sums after their shifts."""
    return _saturated(np.maximum(values, values << lifts))


def _activated(
    values: NDArray[np.int64], positive: NDArray[np.integer], negative: NDArray[np.integer]
) -> NDArray[np.int64]:
    """PReLU of t, which also scales it."""
    factors = np.where(values >= 0, positive, negative).astype(np.int64)
    return (values * factors + 2 ** (FACTOR_BITS - 1)) >> FACTOR_BITS


def _sums(x: NDArray[np.int64], weights: NDArray[np.int16], biases: NDArray[np.int32]) -> NDArray[np.int64]:
    """The convolution with zeros beyond the picture. x: channels x H x W; returns outputs x H x W."""
    (height, width), (rows, columns) = x.shape[1:], weights.shape[2:]
    padded = np.pad(x, ((0, 0), (rows // 2,) * 2, (columns // 2,) * 2))
    sums = np.repeat(np.repeat(biases.astype(np.int64)[:, None, None], height, 1), width, 2)
    for row in range(rows):
        for column in range(columns):
            shifted = padded[:, row : row + height, column : column + width]
            sums += np.tensordot(weights[:, :, row, column].astype(np.int64), shifted, 1)
    assert abs(sums).max(initial=0) <= SUM_LIMIT
    return sums


def enlarge(network: IntegerNetwork, lr: LumaSteps) -> LumaSteps:
    """Enlarges a plane, H x W luma from 0 to PEAK_STEPS, to scale*H x scale*W, not clipped.

    Slow: the compiled forms are held equal to it.
    """
    return (_saturated(_enlarged(network, lr) + 1) >> SUM_FRACTION_BITS - FRACTION_BITS).astype(np.int16)


def enlarge_samples(network: IntegerNetwork, lr: NDArray[np.uint8], full_range: bool) -> NDArray[np.uint8]:
    """Enlarges samples of limited or full range, rounded and clipped."""
    sr = _enlarged(network, from_samples(lr, full_range))
    if full_range:
        sr = _saturated(sr - (BLACK_LEVEL << SUM_FRACTION_BITS))
        sr = _saturated(sr + ((sr * TO_FULL + 2 ** (FACTOR_BITS - 1)) >> FACTOR_BITS))
    return (_saturated(sr + 2 ** (SUM_FRACTION_BITS - 1)) >> SUM_FRACTION_BITS).clip(0, PEAK).astype(np.uint8)


def _enlarged(network: IntegerNetwork, lr: LumaSteps) -> NDArray[np.int64]:
    """scale*H x scale*W luma in 1/64 of a level."""
    x = lr[None].astype(np.int64)
    for layer in network.convolutions:
        sums = _sums(x, layer.weights, layer.biases) >> layer.shifts[:, None, None]
        t = _lifted(sums, layer.lifts[:, None, None].astype(np.int64))
        x = _activated(t, layer.positive[:, None, None], layer.negative[:, None, None])
    deconvolution, scale = network.deconvolution, network.sizes.upscale_factor
    sr = _saturated(_sums(x, deconvolution.weights, deconvolution.biases) >> deconvolution.shift)
    height, width = lr.shape
    return sr.reshape(scale, scale, height, width).transpose(2, 0, 3, 1).reshape(scale * height, scale * width)


# --- what pictures get besides: as pictures/pixels.py and limits.py do in floating point ---

FLAT_LEVELS = WHITE_LEVEL - BLACK_LEVEL + 1  # lumas of flat pictures that the network's error is measured on


def flat_luma(level: int) -> int:
    """The luma of a flat picture, of FLAT_LEVELS from black to white."""
    return (BLACK_LEVEL + level) << FRACTION_BITS


def corrected_and_limited(
    sr: LumaSteps,
    y: LumaSteps,
    least: LumaSteps,
    greatest: LumaSteps,
    errors: NDArray[np.int16],
    down: NDArray[np.int64],
    across: NDArray[np.int64],
) -> LumaSteps:
    """The enlarged luma less the network's error on flat colour, limited to the range of the LR pixels around.

    sr: scale*H x scale*W. y: H x W, the LR luma; least, greatest: its extremes (limits.py). errors: FLAT_LEVELS x rows
    x columns x scale x scale, `enlarge` of flat pictures less their luma; down, across: as in pixels.py.
    """
    level = ((y.astype(np.int64) >> FRACTION_BITS) - BLACK_LEVEL).clip(0, FLAT_LEVELS - 2)
    part = (y - flat_luma(0) - (level << FRACTION_BITS))[..., None, None]
    below, above = (errors[each, down[:, None], across].astype(np.int64) for each in (level, level + 1))
    error = below + ((part * (above - below) + STEPS // 2) >> FRACTION_BITS)
    widening = (3 * (greatest.astype(np.int64) - least) + 1) >> 1
    low, high = ((each[..., None, None]) for each in (least - widening, greatest + widening))
    height, width, scale = *y.shape, errors.shape[-1]
    blocks = sr.reshape(height, scale, width, scale).transpose(0, 2, 1, 3)
    limited = (blocks - error).clip(low, high).clip(-(2**15), 2**15 - 1)
    return limited.transpose(0, 2, 1, 3).reshape(sr.shape).astype(np.int16)


def to_grey(luma: LumaSteps) -> NDArray[np.uint8]:
    """Samples of full range, as grey pictures have them, rounded and clipped."""
    grey = ((luma.astype(np.int64) - BLACK_STEPS) * TO_GREY + 2 ** (TO_GREY_BITS - 1)) >> TO_GREY_BITS
    return grey.clip(0, PEAK).astype(np.uint8)


def to_limited(luma: LumaSteps) -> NDArray[np.uint8]:
    """Samples of limited range, rounded and clipped."""
    return ((luma.astype(np.int32) + STEPS // 2) >> FRACTION_BITS).clip(0, PEAK).astype(np.uint8)


def luma_of(pixels: NDArray[np.uint8]) -> LumaSteps:
    """The luma of H x W x 1 or 3 samples of full range, grey or R, G, B: `RGB_TO_YCBCR`, rounded to 1/32 of a level."""
    if pixels.shape[2] == 1:
        return from_samples(pixels[..., 0], True)
    return (((pixels.astype(np.int64) @ RGB_TO_LUMA + 2**15) >> 16) + BLACK_STEPS).astype(np.int16)


TO_GREY, TO_GREY_BITS = 19077, 19  # 255 / 219 / 32
RGB_TO_LUMA = np.array([538524, 1057236, 205323])  # 32 * (65.481, 128.553, 24.966) / 255 * 2^16, of the sum of grey
FROM_FULL, FROM_FULL_BITS = 1801083, 16  # 32 * 219 / 255
TO_FULL = 5387  # 255 / 219 - 1, in 1/2^15


def from_samples(samples: NDArray[np.uint8], full_range: bool) -> LumaSteps:
    """Luma of 8-bit samples of limited or of full range."""
    wide = samples.astype(np.int32)
    if not full_range:
        return (wide << FRACTION_BITS).astype(np.int16)
    return (((wide * FROM_FULL + 2 ** (FROM_FULL_BITS - 1)) >> FROM_FULL_BITS) + BLACK_STEPS).astype(np.int16)
