"""A picture's colours around the network, compiled, row by row in the cache: chroma enlarged by bicubic interpolation;
luma and chroma put together to samples of 8 or 16 bits.

pictures/pixels.py has the same in NumPy, in double precision.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from fsrcnn.integers import PEAK_STEPS
from fsrcnn.luma import GAIN, OFFSET, PEAK
from fsrcnn.native.limits import emit_limited
from fsrcnn.native.llvm import (
    FLOAT,
    FLOAT_ALIGNMENT,
    FLOAT_BYTES,
    INT,
    Builder,
    interleave,
    machine_code,
    new_function,
    to_samples,
)
from fsrcnn.native.pairs import HALF
from fsrcnn.native.target import Target
from fsrcnn.resize import TAPS

Floats = NDArray[np.float32]
Luma = NDArray[np.float32 | np.int16]  # in [0, 1], or in steps
LUMA_ALIGNMENT = 2
NOT_NEGATIVE = 2.0**14  # steps that make luma positive, so that cutting off its fraction rounds down


def _load(b: Builder, pointer: ir.Value, lanes: int) -> ir.Value:
    return b.load(pointer, typ=b.floats(lanes), align=FLOAT_ALIGNMENT)


def _number(b: Builder, pointer: ir.Value, lanes: int) -> ir.Value:
    """The float at this address, in every lane."""
    return b.splat(b.load(pointer, typ=FLOAT, align=FLOAT_ALIGNMENT), lanes)


# --- bicubic interpolation ---


def emit_bicubic(module: ir.Module, scale: int, target: Target) -> None:
    """`run(source, to, weights, row, pitch, to_pitch, width, height)`.

    source: the plane with 2 more samples on each side. weights: TAPS for each phase of the rows, then for each of the
    columns. row: memory for width + TAPS - 1 floats. Pitches in floats.
    """
    b, arguments = new_function(module, "run", 4, 4, target)
    source, to, weights, row, pitch, to_pitch, width, height = arguments

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
def _compiled_bicubic(scale: int, target: Target) -> Callable[..., None]:
    emit = functools.partial(emit_bicubic, scale=scale, target=target)
    return machine_code(emit, ("bicubic", scale), [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 4, target)


def bicubic(padded: Floats, weights: Floats, into: Floats, target: Target) -> None:
    """As pictures/pixels.py's; `into` without gaps."""
    height, width, scale = padded.shape[0] - TAPS + 1, padded.shape[1] - TAPS + 1, weights.shape[1]
    row = np.empty(padded.shape[1], np.float32)
    pointers = (array.ctypes.data for array in (padded, into, weights, row))
    _compiled_bicubic(scale, target)(*pointers, padded.strides[0] // FLOAT_BYTES, scale * width, width, height)


# --- luma and chroma to samples ---


class OutputFormat(NamedTuple):
    """The samples that `compose` makes."""

    scale: int
    colours: int  # bands of colour: 1 or 3
    has_alpha: bool
    bits: int  # 8 or 16
    in_steps: bool  # luma, small and large: int16 in steps (see integers.py), else float32 in [0, 1]

    @property
    def bands(self) -> int:
        return self.colours + self.has_alpha


class ComposeArguments(NamedTuple):
    """Of the function: COMPOSE_POINTERS addresses, then integers. Pitches are in elements, row to row unless said."""

    y: ir.Value  # luma of the small picture
    least: ir.Value  # of the luma around each pixel of y, with y's pitch
    greatest: ir.Value
    sr: ir.Value  # luma of the large picture; the error is subtracted in place
    errors: ir.Value  # the network's on flat colour: levels x places x scale x scale
    down: ir.Value  # int64: where in a level each row's errors begin
    across: ir.Value  # int64: how much further on each column's do
    planes: ir.Value  # chroma and alpha of the large picture, in 0..255
    matrix: ir.Value  # each colour's weights, and what is added
    out: ir.Value
    y_pitch: ir.Value
    sr_pitch: ir.Value
    level_pitch: ir.Value  # level to level
    levels: ir.Value
    plane_pitch: ir.Value  # plane to plane
    width: ir.Value  # of the small picture
    height: ir.Value


COMPOSE_POINTERS = 10


class ComposeProgram:
    """Emits what the function does with a row of the small picture: corrects and limits the luma of its `scale` rows
    of the large one, then puts luma, chroma and alpha together.
    """

    def __init__(self, b: Builder, form: OutputFormat, given: ComposeArguments) -> None:
        self.b, self.form, self.given, self.scale = b, form, given, form.scale
        self.large_width = b.mul(given.width, b.index(form.scale))
        self.last = b.sub(given.levels, b.index(1))
        self.levels_per_luma = b.fmul(b.sitofp(self.last, FLOAT), FLOAT(1 / GAIN))

    def emit_row(self, row: ir.Value) -> None:
        b, errors_of_row = self.b, self._offset(self.given.down, row)
        b.loop(b.index(0), self.given.width, 1, functools.partial(self._emit_correction, row, errors_of_row))
        for phase in range(self.scale):
            large_row = b.add(b.mul(row, b.index(self.scale)), b.index(phase))
            b.along(self.large_width, functools.partial(self._emit_pixels, large_row))

    def _offset(self, offsets: ir.Value, number: ir.Value) -> ir.Value:
        address = self.b.gep(offsets, [number], source_etype=self.b.target.index)
        return self.b.load(address, typ=self.b.target.index, align=8)

    @property
    def _luma_type(self) -> ir.Type:
        return HALF if self.form.in_steps else FLOAT

    def _load_luma(self, plane: ir.Value, place: ir.Value, lanes: int | None) -> ir.Value:
        """Luma in [0, 1] from a place of a plane on, as a vector; lanes None: one number."""
        b, kind = self.b, self._luma_type
        address = b.gep(plane, [place], source_etype=kind)
        if lanes is not None:
            kind = ir.VectorType(kind, lanes)
        luma = b.load(address, typ=kind, align=LUMA_ALIGNMENT)
        if not self.form.in_steps:
            return luma
        as_float = FLOAT if lanes is None else b.floats(lanes)
        return b.fmul(
            b.sitofp(luma, as_float),
            ir.Constant(as_float, 1 / PEAK_STEPS if lanes is None else [1 / PEAK_STEPS] * lanes),
        )

    def _store_luma(self, luma: ir.Value, place: ir.Value) -> None:
        """Stores a vector of luma in [0, 1] from a place of the large plane on; rounded where it is in steps."""
        b, lanes = self.b, luma.type.count
        if self.form.in_steps:
            above = b.fadd(b.fmul(luma, b.splat(float(PEAK_STEPS), lanes)), b.splat(NOT_NEGATIVE + 0.5, lanes))
            words = b.sub(
                b.fptosi(above, ir.VectorType(INT, lanes)),
                ir.Constant(ir.VectorType(INT, lanes), [int(NOT_NEGATIVE)] * lanes),
            )
            luma = b.trunc(words, ir.VectorType(HALF, lanes))
        b.store(luma, b.gep(self.given.sr, [place], source_etype=self._luma_type), align=LUMA_ALIGNMENT)

    def _emit_correction(self, row: ir.Value, errors_of_row: ir.Value, x: ir.Value) -> None:
        """Subtracts the error at a small pixel's level, interpolated between two levels, from its large pixels, and
        limits them.
        """
        b, given, scale = self.b, self.given, self.scale
        small = b.mul(row, given.y_pitch)
        place = b.add(small, x)
        luma = self._load_luma(given.y, place, None)
        around = [b.splat(self._load_luma(plane, place, None), scale) for plane in (given.least, given.greatest)]
        level = b.fmul(b.fsub(luma, FLOAT(OFFSET)), self.levels_per_luma)
        below = b.least(b.greatest(b.fptosi(level, b.target.index), b.index(0)), b.sub(self.last, b.index(1)))
        part = b.splat(b.fsub(level, b.sitofp(below, FLOAT)), scale)
        entry = b.at(given.errors, b.mul(below, given.level_pitch), errors_of_row, self._offset(given.across, x))
        for phase in range(scale):
            entries = entry, b.at(entry, given.level_pitch)
            error, above = (_load(b, b.at(each, phase * scale), scale) for each in entries)
            error = b.fadd(error, b.fmul(part, b.fsub(above, error)))
            large_row = b.add(b.mul(row, b.index(scale)), b.index(phase))
            place = b.add(b.mul(large_row, given.sr_pitch), b.mul(x, b.index(scale)))
            limited = emit_limited(b, b.fsub(self._load_luma(given.sr, place, scale), error), *around)
            self._store_luma(limited, place)

    def _emit_pixels(self, row: ir.Value, x: ir.Value, lanes: int) -> None:
        b, given, form = self.b, self.given, self.form
        luma = self._load_luma(given.sr, b.add(b.mul(row, given.sr_pitch), x), lanes)
        place = b.add(b.mul(row, self.large_width), x)
        planes = (b.at(given.planes, b.mul(b.index(i), given.plane_pitch), place) for i in range(form.bands - 1))
        values = [luma, *(_load(b, plane, lanes) for plane in planes)]
        bands = [self._emit_colour(number, values[: form.colours], lanes) for number in range(form.colours)]
        if form.has_alpha:
            peak = 2.0**form.bits - 1
            bands.append(to_samples(b, b.fmul(values[-1], b.splat(peak / PEAK, lanes)), form.bits))
        pixels = bands[0] if len(bands) == 1 else interleave(b, bands)
        first = b.mul(place, b.index(form.bands))
        address = b.gep(given.out, [first], source_etype=ir.IntType(form.bits))
        b.store(pixels, address, align=form.bits // 8)

    def _emit_colour(self, number: int, values: list[ir.Value], lanes: int) -> ir.Value:
        """The samples of a colour: its row of the matrix times luma and chroma."""
        b, row = self.b, number * (len(values) + 1)
        total = _number(b, b.at(self.given.matrix, row + len(values)), lanes)
        for place, value in enumerate(values, row):
            total = b.fadd(total, b.fmul(value, _number(b, b.at(self.given.matrix, place), lanes)))
        return to_samples(b, total, self.form.bits)


def emit_compose(module: ir.Module, form: OutputFormat, target: Target) -> None:
    """The function `run` of `ComposeArguments`."""
    indices = len(ComposeArguments._fields) - COMPOSE_POINTERS
    b, arguments = new_function(module, "run", COMPOSE_POINTERS, indices, target)
    given = ComposeArguments(*arguments)
    b.loop(b.index(0), given.height, 1, ComposeProgram(b, form, given).emit_row)
    b.ret_void()


@functools.cache
def _compiled_compose(form: OutputFormat, target: Target) -> Callable[..., None]:
    indices = len(ComposeArguments._fields) - COMPOSE_POINTERS
    types = [ctypes.c_void_p] * COMPOSE_POINTERS + [ctypes.c_int64] * indices
    emit = functools.partial(emit_compose, form=form, target=target)
    return machine_code(emit, ("compose", form), types, target)


def compose(
    y: Luma,
    least: Luma,
    greatest: Luma,
    sr: Luma,
    errors: Floats,
    down: NDArray[np.int64],
    across: NDArray[np.int64],
    planes: Floats,
    matrix: Floats,
    has_alpha: bool,
    bits: int,
    target: Target,
) -> NDArray[np.uint8 | np.uint16]:
    """As pictures/pixels.py's. Rows of y, least and greatest may have the same gaps, those of sr others,
    everything else has none; sr is overwritten.
    """
    (height, width), scale = y.shape, errors.shape[-1]
    form = OutputFormat(scale, len(matrix), has_alpha, bits, y.dtype == np.int16)
    out = np.empty((scale * height, scale * width, form.bands), np.uint8 if bits == 8 else np.uint16)
    places = down * (errors.shape[2] * scale**2), across * scale**2
    pointers = [array.ctypes.data for array in (y, least, greatest, sr, errors, *places, planes, matrix, out)]
    sizes = (
        y.strides[0] // y.itemsize,
        sr.strides[0] // sr.itemsize,
        errors[0].size,
        len(errors),
        scale**2 * y.size,
        width,
        height,
    )
    _compiled_compose(form, target)(*pointers, *sizes)
    return out
