"""A picture's colours around the network, each as one compiled pass over rows that lie in the cache: chroma enlarged by
bicubic interpolation, and luma and chroma put together to samples of 8 or 16 bits.

inference/colour.py has the same in NumPy, in double precision.
"""

import ctypes
import functools
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from native.llvm import FLOAT, FLOAT_ALIGNMENT, POINTER, Builder, interleave, machine_code
from native.target import Target

TAPS = 5  # of bicubic interpolation: a sample and two on each side
INT = ir.IntType(32)

Plane = NDArray[np.float32]


def _function(module: ir.Module, pointers: int, indices: int, target: Target) -> tuple[Builder, list[ir.Value]]:
    """A new function `run` of so many arguments of both kinds."""
    types = [POINTER] * pointers + [target.index] * indices
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), "run")
    return Builder(function.append_basic_block(), target), list(function.args)


def _load(b: Builder, pointer: ir.Value, lanes: int) -> ir.Value:
    return b.load(pointer, typ=b.floats(lanes), align=FLOAT_ALIGNMENT)


def _number(b: Builder, pointer: ir.Value, lanes: int) -> ir.Value:
    """The float there in all lanes."""
    return b.splat(b.load(pointer, typ=FLOAT, align=FLOAT_ALIGNMENT), lanes)


# --- bicubic interpolation ---


def emit_bicubic(module: ir.Module, scale: int, target: Target) -> None:
    """`run(source, to, weights, row, pitch, to_pitch, width, height)`.

    source: the plane with two samples more on each side; weights: of the rows' phases, then of the columns', TAPS each;
    row: memory for width + TAPS - 1 floats. Pitches in floats.
    """
    b, (source, to, weights, row, pitch, to_pitch, width, height) = _function(module, 4, 4, target)

    def emit_sum(pixels: list[ir.Value], phase: int, lanes: int) -> ir.Value:
        total = b.splat(0.0, lanes)
        for tap, pixel in enumerate(pixels):
            weight = _number(b, b.at(weights, phase * TAPS + tap), lanes)
            total = b.fadd(total, b.fmul(_load(b, pixel, lanes), weight))
        return total

    def emit_row(y: ir.Value) -> None:
        rows = [b.at(source, b.mul(b.add(y, b.index(tap)), pitch)) for tap in range(TAPS)]
        for phase in range(scale):
            into = b.at(to, b.mul(b.add(b.mul(y, b.index(scale)), b.index(phase)), to_pitch))

            def emit_down(x: ir.Value, lanes: int, phase: int = phase) -> None:
                total = emit_sum([b.at(each, x) for each in rows], phase, lanes)
                b.store(total, b.at(row, x), align=FLOAT_ALIGNMENT)

            def emit_across(x: ir.Value, lanes: int, into: ir.Value = into) -> None:
                pixels = [b.at(row, x, tap) for tap in range(TAPS)]
                sums = [emit_sum(pixels, scale + column, lanes) for column in range(scale)]
                b.store(interleave(b, sums), b.at(into, b.mul(x, b.index(scale))), align=FLOAT_ALIGNMENT)

            b.along(b.add(width, b.index(TAPS - 1)), emit_down)
            b.along(width, emit_across)

    b.loop(b.index(0), height, 1, emit_row)
    b.ret_void()


@functools.cache
def _compiled_bicubic(scale: int, target: Target):  # noqa: ANN202
    emit = functools.partial(emit_bicubic, scale=scale, target=target)
    return machine_code(emit, ("bicubic", scale), [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 4, target)


def bicubic(padded: Plane, weights: NDArray[np.float32], into: Plane, target: Target) -> None:
    """As inference/colour.py's; `into` without gaps."""
    height, width, scale = padded.shape[0] - TAPS + 1, padded.shape[1] - TAPS + 1, weights.shape[1]
    row = np.empty(padded.shape[1], np.float32)
    pointers = (array.ctypes.data for array in (padded, into, weights, row))
    _compiled_bicubic(scale, target)(*pointers, padded.strides[0] // 4, scale * width, width, height)


# --- samples ---


class Samples(NamedTuple):
    """What comes out: how many bands are colour, whether there is alpha, and how many bits a sample has."""

    scale: int
    colours: int  # 1 or 3
    has_alpha: bool
    bits: int  # 8 or 16

    @property
    def bands(self) -> int:
        return self.colours + self.has_alpha


def emit_samples(module: ir.Module, samples: Samples, target: Target) -> None:
    """`run`, of eight pointers and seven sizes, as the first lines name them.

    y: luma of the small picture, from 0 to 1 as sr, that of the large one, which is corrected in place. errors: what is
    taken off; down, across: int64, of each row and column where in a level its errors begin. planes: of
    chroma and alpha, of the large picture, in 0..255. matrix: for each colour its weights and its offset. Pitches in
    elements, plane_pitch from one plane to the next.
    """
    b, arguments = _function(module, 8, 7, target)
    y, sr, errors, down, across, planes, matrix, out = arguments[:8]
    y_pitch, sr_pitch, level_pitch, levels, plane_pitch, width, height = arguments[8:]
    scale, colours, peak = samples.scale, samples.colours, 2.0**samples.bits - 1
    sample, large_width = ir.IntType(samples.bits), b.mul(width, b.index(scale))
    last = b.sub(levels, b.index(1))
    steps = b.fmul(b.sitofp(last, FLOAT), FLOAT(255 / 219))

    def offset(pointer: ir.Value, number: ir.Value) -> ir.Value:
        address = b.gep(pointer, [number], source_etype=b.target.index)
        return b.load(address, typ=b.target.index, align=8)

    def emit_correction(row: ir.Value, of_row: ir.Value, x: ir.Value) -> None:
        """Takes the errors of the level that the small picture's pixel has off its pixels in the large one."""
        luma = b.load(b.at(y, b.mul(row, y_pitch), x), typ=FLOAT, align=FLOAT_ALIGNMENT)
        level = b.fmul(b.fsub(luma, FLOAT(16 / 255)), steps)
        below = b.least(b.greatest(b.fptosi(level, b.target.index), b.index(0)), b.sub(last, b.index(1)))
        part = b.splat(b.fsub(level, b.sitofp(below, FLOAT)), scale)
        entry = b.at(errors, b.mul(below, level_pitch), of_row, offset(across, x))
        for phase in range(scale):
            error, after = (_load(b, b.at(place, phase * scale), scale) for place in (entry, b.at(entry, level_pitch)))
            error = b.fadd(error, b.fmul(part, b.fsub(after, error)))
            place = b.at(
                sr, b.mul(b.add(b.mul(row, b.index(scale)), b.index(phase)), sr_pitch), b.mul(x, b.index(scale))
            )
            b.store(b.fsub(_load(b, place, scale), error), place, align=FLOAT_ALIGNMENT)

    def emit_whole(value: ir.Value, lanes: int) -> ir.Value:
        """Rounded, halves up, and clipped."""
        value, zero, white = b.fadd(value, b.splat(0.5, lanes)), b.splat(0.0, lanes), b.splat(peak, lanes)
        value = b.select(b.fcmp_ordered(">", value, zero), value, zero)
        value = b.select(b.fcmp_ordered("<", value, white), value, white)
        return b.trunc(b.fptosi(value, ir.VectorType(INT, lanes)), ir.VectorType(sample, lanes))

    def emit_pixels(row: ir.Value, x: ir.Value, lanes: int) -> None:
        values = [_load(b, b.at(sr, b.mul(row, sr_pitch), x), lanes)]
        place = b.add(b.mul(row, large_width), x)
        for plane in range(colours - 1 + samples.has_alpha):
            values.append(_load(b, b.at(planes, b.mul(b.index(plane), plane_pitch), place), lanes))
        bands = []
        for colour in range(colours):
            total = _number(b, b.at(matrix, colour * (colours + 1) + colours), lanes)
            for number in range(colours):
                weight = _number(b, b.at(matrix, colour * (colours + 1) + number), lanes)
                total = b.fadd(total, b.fmul(values[number], weight))
            bands.append(emit_whole(total, lanes))
        if samples.has_alpha:
            bands.append(emit_whole(b.fmul(values[-1], b.splat(peak / 255, lanes)), lanes))
        pixels = bands[0] if len(bands) == 1 else interleave(b, bands)
        first = b.mul(place, b.index(samples.bands))
        b.store(pixels, b.gep(out, [first], source_etype=sample), align=samples.bits // 8)

    def emit_row(row: ir.Value) -> None:
        of_row = offset(down, row)
        b.loop(b.index(0), width, 1, functools.partial(emit_correction, row, of_row))
        for phase in range(scale):
            large_row = b.add(b.mul(row, b.index(scale)), b.index(phase))
            b.along(large_width, functools.partial(emit_pixels, large_row))

    b.loop(b.index(0), height, 1, emit_row)
    b.ret_void()


@functools.cache
def _compiled_samples(samples: Samples, target: Target):  # noqa: ANN202
    emit = functools.partial(emit_samples, samples=samples, target=target)
    return machine_code(emit, samples, [ctypes.c_void_p] * 8 + [ctypes.c_int64] * 7, target)


def compose(
    y: Plane,
    sr: Plane,
    errors: NDArray[np.float32],
    down: NDArray[np.int64],
    across: NDArray[np.int64],
    planes: Plane,
    matrix: NDArray[np.float32],
    has_alpha: bool,
    bits: int,
    target: Target,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """As inference/colour.py's. Rows of y and sr may have gaps, everything else has none; sr is overwritten."""
    (height, width), scale = y.shape, errors.shape[-1]
    samples = Samples(scale, len(matrix), has_alpha, bits)
    out = np.empty((scale * height, scale * width, samples.bands), np.uint8 if bits == 8 else np.uint16)
    places = down * (errors.shape[2] * scale**2), across * scale**2
    pointers = [array.ctypes.data for array in (y, sr, errors, *places, planes, matrix, out)]
    sizes = (y.strides[0] // 4, sr.strides[0] // 4, errors[0].size, len(errors), scale**2 * y.size, width, height)
    _compiled_samples(samples, target)(*pointers, *sizes)
    return out
