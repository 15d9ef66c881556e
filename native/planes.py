"""Luma planes of a caller, in float32 or 8 bits, limited or full range: their rows to the network's floats and back."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from native.llvm import BYTE, FLOAT, FLOAT_ALIGNMENT, Builder

# What makes the network's luma, which is 16/255 to 235/255, of full-range luma in [0, 1].
GAIN, OFFSET = 219 / 255, 16 / 255
WHITE = 255.0

Emit = Callable[[bool, ir.Value, int], None]


class Plane(NamedTuple):
    """Rows of luma in memory, with so many bytes from each to the next."""

    start: ir.Value
    stride: ir.Value
    eight_bits: ir.Value  # i1: uint8 in 0..255, else float32 in [0, 1]
    full_range: ir.Value  # i1

    def at(self, b: Builder, row: ir.Value, column: ir.Value) -> ir.Value:
        pixel = b.select(self.eight_bits, b.index(1), b.index(4))
        return b.byte_at(self.start, b.add(b.mul(row, self.stride), b.mul(column, pixel)))

    def emit_read(self, b: Builder, row: ir.Value, column: ir.Value, length: ir.Value, to: ir.Value) -> None:
        """So many pixels, from this row and column on, as the network's floats."""
        start, gain, offset = self.at(b, row, column), self._either(b, GAIN, 1.0), self._either(b, OFFSET, 0.0)

        def emit(eight_bits: bool, x: ir.Value, lanes: int) -> None:
            pixels = ir.VectorType(BYTE if eight_bits else FLOAT, lanes)
            read = b.load(b.byte_at(start, x) if eight_bits else b.at(start, x), typ=pixels, align=1)
            read = b.fmul(b.uitofp(read, b.floats(lanes)), b.splat(1 / WHITE, lanes)) if eight_bits else read
            luma = b.fadd(b.fmul(read, b.splat(gain, lanes)), b.splat(offset, lanes))
            b.store(luma, b.at(to, x), align=FLOAT_ALIGNMENT)

        self._emit_along(b, length, emit)

    def emit_write(self, b: Builder, source: ir.Value, length: ir.Value, row: ir.Value, column: ir.Value) -> None:
        """So many of the network's floats to this row and column: 8 bits are rounded, halves up, and clipped."""
        start, gain, offset = (
            self.at(b, row, column),
            self._either(b, 1 / GAIN, 1.0),
            self._either(b, -OFFSET / GAIN, 0.0),
        )

        def emit(eight_bits: bool, x: ir.Value, lanes: int) -> None:
            luma = b.load(b.at(source, x), typ=b.floats(lanes), align=FLOAT_ALIGNMENT)
            luma = b.fadd(b.fmul(luma, b.splat(gain, lanes)), b.splat(offset, lanes))
            if not eight_bits:
                b.store(luma, b.at(start, x), align=1)
                return
            level = b.fadd(b.fmul(luma, b.splat(WHITE, lanes)), b.splat(0.5, lanes))
            zero, white = b.splat(0.0, lanes), b.splat(WHITE, lanes)
            level = b.select(b.fcmp_ordered(">", level, zero), level, zero)
            level = b.select(b.fcmp_ordered("<", level, white), level, white)
            whole = b.fptosi(level, ir.VectorType(ir.IntType(32), lanes))
            b.store(b.trunc(whole, ir.VectorType(BYTE, lanes)), b.byte_at(start, x), align=1)

        self._emit_along(b, length, emit)

    def _either(self, b: Builder, full: float, limited: float) -> ir.Value:
        return b.select(self.full_range, ir.Constant(FLOAT, full), ir.Constant(FLOAT, limited))

    def _emit_along(self, b: Builder, length: ir.Value, emit: Emit) -> None:
        """emit(eight bits or not, x, lanes) along a row."""
        with b.if_else(self.eight_bits) as branches:
            for branch, eight_bits in zip(branches, (True, False), strict=True):
                with branch:
                    b.along(length, functools.partial(emit, eight_bits))
