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

from fsrcnn.integers import (
    BLACK_STEPS,
    FLAT_LEVELS,
    FRACTION_BITS,
    PEAK_STEPS,
    STEPS,
    TO_GREY,
    TO_GREY_BITS,
    flat_luma,
)
from fsrcnn.luma import BLACK_LEVEL, GAIN, OFFSET, PEAK
from fsrcnn.native.limits import emit_limited, emit_limits_in_steps
from fsrcnn.native.llvm import (
    BYTE,
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
from fsrcnn.native.pairs import HALF, HALF_BYTES, PairBuilder, of_halves, of_words
from fsrcnn.native.target import Target
from fsrcnn.resize import TAPS

Floats = NDArray[np.float32]
Luma = NDArray[np.float32 | np.int16]  # in [0, 1], or in steps
Errors = NDArray[np.float32 | np.int16]  # in [0, 1], or in steps


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
    errors: ir.Value  # the network's on flat colour, as its luma: levels x places x scale x scale
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

    def __init__(self, b: PairBuilder, form: OutputFormat, given: ComposeArguments) -> None:
        self.b, self.form, self.given, self.scale = b, form, given, form.scale
        self.large_width = b.mul(given.width, b.index(form.scale))

    def emit_row(self, row: ir.Value) -> None:
        b, errors_of_row = self.b, self._offset(self.given.down, row)
        b.loop(b.index(0), self.given.width, 1, functools.partial(self._emit_correction, row, errors_of_row))
        for phase in range(self.scale):
            b.along(self.large_width, functools.partial(self._emit_pixels, self._large_row(row, phase)))

    def _offset(self, offsets: ir.Value, number: ir.Value) -> ir.Value:
        address = self.b.gep(offsets, [number], source_etype=self.b.target.index)
        return self.b.load(address, typ=self.b.target.index, align=8)

    def _large_row(self, row: ir.Value, phase: int) -> ir.Value:
        return self.b.add(self.b.mul(row, self.b.index(self.scale)), self.b.index(phase))

    def _large_places(self, row: ir.Value, x: ir.Value) -> list[ir.Value]:
        """Where a small pixel's large ones begin in each of its rows of the large plane of luma."""
        b, first = self.b, self.b.mul(x, self.b.index(self.scale))
        return [b.add(b.mul(self._large_row(row, phase), self.given.sr_pitch), first) for phase in range(self.scale)]

    def _emit_correction(self, row: ir.Value, errors_of_row: ir.Value, x: ir.Value) -> None:
        """Subtracts the error at a small pixel's level, interpolated between two levels, from its large pixels, and
        limits them.
        """
        b, given, scale = self.b, self.given, self.scale
        place = b.add(b.mul(row, given.y_pitch), x)
        luma, *around = (
            b.load(b.at(plane, place), typ=FLOAT, align=FLOAT_ALIGNMENT)
            for plane in (given.y, given.least, given.greatest)
        )
        last = b.sub(given.levels, b.index(1))
        level = b.fmul(b.fsub(luma, FLOAT(OFFSET)), b.fmul(b.sitofp(last, FLOAT), FLOAT(1 / GAIN)))
        below = b.least(b.greatest(b.fptosi(level, b.target.index), b.index(0)), b.sub(last, b.index(1)))
        part = b.splat(b.fsub(level, b.sitofp(below, FLOAT)), scale)
        entry = b.at(given.errors, b.mul(below, given.level_pitch), errors_of_row, self._offset(given.across, x))
        for phase, place in enumerate(self._large_places(row, x)):
            entries = entry, b.at(entry, given.level_pitch)
            error, above = (_load(b, b.at(each, phase * scale), scale) for each in entries)
            error = b.fadd(error, b.fmul(part, b.fsub(above, error)))
            address = b.at(given.sr, place)
            corrected = b.fsub(_load(b, address, scale), error)
            limited = emit_limited(b, corrected, *(b.splat(each, scale) for each in around))
            b.store(limited, address, align=FLOAT_ALIGNMENT)

    def _emit_pixels(self, row: ir.Value, x: ir.Value, lanes: int) -> None:
        b, given, form = self.b, self.given, self.form
        place = b.add(b.mul(row, self.large_width), x)
        planes = [
            _load(b, b.at(given.planes, b.mul(b.index(i), given.plane_pitch), place), lanes)
            for i in range(form.bands - 1)
        ]
        luma_place = b.add(b.mul(row, given.sr_pitch), x)
        bands = self._emit_colours(luma_place, planes[: form.colours - 1], lanes)
        if form.has_alpha:
            peak = 2.0**form.bits - 1
            bands.append(to_samples(b, b.fmul(planes[-1], b.splat(peak / PEAK, lanes)), form.bits))
        pixels = bands[0] if len(bands) == 1 else interleave(b, bands)
        first = b.mul(place, b.index(form.bands))
        address = b.gep(given.out, [first], source_etype=ir.IntType(form.bits))
        b.store(pixels, address, align=form.bits // 8)

    def _emit_colours(self, place: ir.Value, chroma: list[ir.Value], lanes: int) -> list[ir.Value]:
        """The samples of all colours, whose luma is from this place of the large plane on."""
        return self._by_matrix(_load(self.b, self.b.at(self.given.sr, place), lanes), chroma)

    def _by_matrix(self, luma: ir.Value, chroma: list[ir.Value]) -> list[ir.Value]:
        """The samples of all colours. luma: in [0, 1]."""
        return [self._emit_colour(number, [luma, *chroma], luma.type.count) for number in range(self.form.colours)]

    def _emit_colour(self, number: int, values: list[ir.Value], lanes: int) -> ir.Value:
        """The samples of a colour: its row of the matrix times luma and chroma."""
        b, row = self.b, number * (len(values) + 1)
        total = _number(b, b.at(self.given.matrix, row + len(values)), lanes)
        for place, value in enumerate(values, row):
            total = b.fadd(total, b.fmul(value, _number(b, b.at(self.given.matrix, place), lanes)))
        return to_samples(b, total, self.form.bits)


class StepsProgram(ComposeProgram):
    """The same with luma in steps: corrected, limited and made grey of 8 bits by integers.py's arithmetic."""

    def _emit_correction(self, row: ir.Value, errors_of_row: ir.Value, x: ir.Value) -> None:
        """As `integers.corrected_and_limited`, all of whose numbers fit: those of luma from 0 to PEAK_STEPS."""
        b, given, scale = self.b, self.given, self.scale
        place, words = b.add(b.mul(row, given.y_pitch), x), of_words(scale**2)
        luma, least, greatest = (
            b.sext(b.load(b.half_at(plane, place), typ=HALF, align=HALF_BYTES), INT)
            for plane in (given.y, given.least, given.greatest)
        )
        low, high = (b.splat(each, scale) for each in emit_limits_in_steps(b, least, greatest))
        level = b.sub(b.ashr(luma, INT(FRACTION_BITS)), INT(BLACK_LEVEL))
        level = b.least(b.greatest(level, INT(0)), INT(FLAT_LEVELS - 2))
        part = b.sub(b.sub(luma, INT(flat_luma(0))), b.shl(level, INT(FRACTION_BITS)))
        place = b.mul(b.sext(level, b.target.index), given.level_pitch)
        entry = b.half_at(given.errors, place, errors_of_row, self._offset(given.across, x))
        error, above = (
            b.sext(b.load(each, typ=of_halves(scale**2), align=HALF_BYTES), words)
            for each in (entry, b.half_at(entry, given.level_pitch))
        )
        rise = b.add(b.mul(b.splat(part, scale**2), b.sub(above, error)), b.same(STEPS // 2, words))
        error = b.add(error, b.ashr(rise, b.same(FRACTION_BITS, words)))
        for phase, place in enumerate(self._large_places(row, x)):
            of_row = b.shuffle(error, error, list(range(phase * scale, (phase + 1) * scale)))
            address = b.half_at(given.sr, place)
            corrected = b.sub(self._words(address, scale), of_row)
            limited = b.least(b.greatest(corrected, low), high)
            b.store(b.trunc(limited, of_halves(scale)), address, align=HALF_BYTES)

    def _words(self, address: ir.Value, lanes: int) -> ir.Value:
        """The halves from this address on as words."""
        b = self.b
        return b.sext(b.load(address, typ=of_halves(lanes), align=HALF_BYTES), of_words(lanes))

    def _emit_colours(self, place: ir.Value, chroma: list[ir.Value], lanes: int) -> list[ir.Value]:
        b, luma = self.b, self._words(self.b.half_at(self.given.sr, place), lanes)
        if (self.form.colours, self.form.bits) == (1, 8):
            return [self._emit_grey(luma)]
        return self._by_matrix(b.fmul(b.sitofp(luma, b.floats(lanes)), b.splat(1 / PEAK_STEPS, lanes)), chroma)

    def _emit_grey(self, luma: ir.Value) -> ir.Value:
        """As `integers.to_grey`."""
        b, words = self.b, luma.type
        product = b.mul(b.sub(luma, b.same(BLACK_STEPS, words)), b.same(TO_GREY, words))
        rounded = b.add(product, b.same(2 ** (TO_GREY_BITS - 1), words))
        samples = b.clipped(b.ashr(rounded, b.same(TO_GREY_BITS, words)), 0, PEAK)
        return b.trunc(samples, ir.VectorType(BYTE, words.count))


def emit_compose(module: ir.Module, form: OutputFormat, target: Target) -> None:
    """The function `run` of `ComposeArguments`."""
    indices = len(ComposeArguments._fields) - COMPOSE_POINTERS
    b, arguments = new_function(module, "run", COMPOSE_POINTERS, indices, target)
    b, given = PairBuilder(b.block, target), ComposeArguments(*arguments)
    program = (StepsProgram if form.in_steps else ComposeProgram)(b, form, given)
    b.loop(b.index(0), given.height, 1, program.emit_row)
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
    errors: Errors,
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
