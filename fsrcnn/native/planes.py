"""A caller's planes of luma, float32 or uint8, limited or full range: their rows to the network's floats and back."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from fsrcnn.luma import GAIN, OFFSET, PEAK
from fsrcnn.native.llvm import BYTE, FLOAT, FLOAT_ALIGNMENT, FLOAT_BYTES, Builder, to_samples


class StridedPlane(NamedTuple):
    """A plane of luma in memory."""

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
