"""A caller's planes of luma, limited or full range: their rows to the network's numbers and back."""

import functools
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from llvmlite import ir

from fsrcnn.integers import BLACK_STEPS, FRACTION_BITS, FROM_FULL, FROM_FULL_BITS, SUM_FRACTION_BITS, TO_FULL
from fsrcnn.luma import BLACK_LEVEL, GAIN, OFFSET, PEAK
from fsrcnn.native.llvm import BYTE, FLOAT, FLOAT_ALIGNMENT, FLOAT_BYTES, Builder, to_samples
from fsrcnn.native.pairs import HALF_BYTES, PairBuilder, of_halves, of_words


class Samples(Enum):
    """What the network in integers takes: uint8 of limited or full range, or int16 in 1/32 of a level."""

    LIMITED = 1
    FULL = 2
    STEPS = 3


class StridedPlane(NamedTuple):
    """A plane of luma in memory, float32 or uint8."""

    start: ir.Value
    stride: ir.Value  # bytes from each row to the next
    eight_bits: ir.Value  # i1: uint8 in 0..255, else float32 in [0, 1]
    full_range: ir.Value  # i1

    def at(self, b: Builder, row: ir.Value, column: ir.Value) -> ir.Value:
        pixel = b.select(self.eight_bits, b.index(1), b.index(FLOAT_BYTES))
        return b.byte_at(self.start, b.add(b.mul(row, self.stride), b.mul(column, pixel)))

    def emit_read(self, b: Builder, row: ir.Value, column: ir.Value, length: ir.Value, to: ir.Value) -> None:
        """Reads `length` pixels from this row and column on, and stores them as the network's floats."""
        start, gain, offset = self.at(b, row, column), self._either(b, GAIN, 1.0), self._either(b, OFFSET, 0.0)

        def emit(eight_bits: bool, x: ir.Value, lanes: int) -> None:
            pixels = ir.VectorType(BYTE if eight_bits else FLOAT, lanes)
            read = b.load(b.byte_at(start, x) if eight_bits else b.at(start, x), typ=pixels, align=1)
            read = b.fmul(b.uitofp(read, b.floats(lanes)), b.splat(1 / PEAK, lanes)) if eight_bits else read
            luma = b.fadd(b.fmul(read, b.splat(gain, lanes)), b.splat(offset, lanes))
            b.store(luma, b.at(to, x), align=FLOAT_ALIGNMENT)

        self._emit_along(b, length, emit)

    def emit_write(self, b: Builder, source: ir.Value, length: ir.Value, row: ir.Value, column: ir.Value) -> None:
        """Writes `length` of the network's floats from this row and column on; rounds uint8 (halves up), clips them."""
        start = self.at(b, row, column)
        gain, offset = self._either(b, 1 / GAIN, 1.0), self._either(b, -OFFSET / GAIN, 0.0)

        def emit(eight_bits: bool, x: ir.Value, lanes: int) -> None:
            luma = b.load(b.at(source, x), typ=b.floats(lanes), align=FLOAT_ALIGNMENT)
            luma = b.fadd(b.fmul(luma, b.splat(gain, lanes)), b.splat(offset, lanes))
            if not eight_bits:
                b.store(luma, b.at(start, x), align=1)
                return
            samples = to_samples(b, b.fmul(luma, b.splat(float(PEAK), lanes)), 8)
            b.store(samples, b.byte_at(start, x), align=1)

        self._emit_along(b, length, emit)

    def _either(self, b: Builder, full: float, limited: float) -> ir.Value:
        return b.select(self.full_range, ir.Constant(FLOAT, full), ir.Constant(FLOAT, limited))

    def _emit_along(self, b: Builder, length: ir.Value, emit: Callable[[bool, ir.Value, int], None]) -> None:
        """emit(eight_bits, x, lanes) along a row, for either kind of pixels."""
        with b.if_else(self.eight_bits) as branches:
            for branch, eight_bits in zip(branches, (True, False), strict=True):
                with branch:
                    b.along(length, functools.partial(emit, eight_bits))


class StepsPlane(StridedPlane):
    """A plane of luma in memory: uint8 in 0..255, else int16 in steps of 1/32 of a level, limited range.

    integers.py has the same in NumPy: `from_samples`, and the ends of `enlarge` and `enlarge_samples`.
    """

    def at(self, b: Builder, row: ir.Value, column: ir.Value) -> ir.Value:
        pixel = b.select(self.eight_bits, b.index(1), b.index(HALF_BYTES))
        return b.byte_at(self.start, b.add(b.mul(row, self.stride), b.mul(column, pixel)))

    def emit_steps(self, b: PairBuilder, row: ir.Value, column: ir.Value, length: ir.Value, to: ir.Value) -> None:
        """Reads `length` pixels from this row and column on, and stores them as halves."""
        start = self.at(b, row, column)

        def emit(kind: Samples, x: ir.Value, lanes: int) -> None:
            halves = of_halves(lanes)
            if kind is Samples.STEPS:
                luma = b.load(b.half_at(start, x), typ=halves, align=1)
            else:
                luma = b.load(b.byte_at(start, x), typ=ir.VectorType(BYTE, lanes), align=1)
            if kind is Samples.LIMITED:
                luma = b.shl(b.zext(luma, halves), b.same(FRACTION_BITS, halves))
            if kind is Samples.FULL:
                words = of_words(lanes)
                luma = b.mul(b.zext(luma, words), b.same(FROM_FULL, words))
                luma = b.ashr(b.add(luma, b.same(2 ** (FROM_FULL_BITS - 1), words)), b.same(FROM_FULL_BITS, words))
                luma = b.add(b.trunc(luma, halves), b.same(BLACK_STEPS, halves))
            b.store(luma, b.half_at(to, x), align=HALF_BYTES)

        self._emit_kinds(b, length, emit)

    def emit_sums(self, b: PairBuilder, source: ir.Value, length: ir.Value, row: ir.Value, column: ir.Value) -> None:
        """Writes `length` halves in steps of 1/64 of a level from this row and column on; rounds, and clips uint8."""
        start = self.at(b, row, column)

        def rounded(sums: ir.Value, bits: int) -> ir.Value:
            sums = b.saturated_sum(sums, b.same(2 ** (bits - 1), sums.type))
            return b.ashr(sums, b.same(bits, sums.type))

        def emit(kind: Samples, x: ir.Value, lanes: int) -> None:
            sums = b.load(b.half_at(source, x), typ=of_halves(lanes), align=HALF_BYTES)
            if kind is Samples.STEPS:
                b.store(rounded(sums, SUM_FRACTION_BITS - FRACTION_BITS), b.half_at(start, x), align=1)
                return
            if kind is Samples.FULL:
                sums = b.saturated_sum(sums, b.same(-BLACK_LEVEL << SUM_FRACTION_BITS, sums.type))
                sums = b.saturated_sum(sums, b.scaled(sums, b.same(TO_FULL, sums.type)))
            samples = b.clipped(rounded(sums, SUM_FRACTION_BITS), 0, PEAK)
            b.store(b.trunc(samples, ir.VectorType(BYTE, lanes)), b.byte_at(start, x), align=1)

        self._emit_kinds(b, length, emit)

    def _emit_kinds(self, b: PairBuilder, length: ir.Value, emit: Callable[["Samples", ir.Value, int], None]) -> None:
        """emit(kind, x, lanes) along a row, for the kind of samples that these are."""
        with b.if_else(self.eight_bits) as (eight_bits, steps):
            with eight_bits, b.if_else(self.full_range) as (full, limited):
                with full:
                    b.along_pairs(length, functools.partial(emit, Samples.FULL))
                with limited:
                    b.along_pairs(length, functools.partial(emit, Samples.LIMITED))
            with steps:
                b.along_pairs(length, functools.partial(emit, Samples.STEPS))
