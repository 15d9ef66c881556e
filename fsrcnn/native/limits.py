"""The limiter of ../limits.py, compiled: what bounds an enlarged pixel, and planes of samples limited."""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from fsrcnn.luma import LIMIT_WIDENING
from fsrcnn.native.llvm import INT, Builder, interleave, machine_code, new_function, to_samples
from fsrcnn.native.target import Target

POINTERS, SIZES = 3, 4


def emit_limited(b: Builder, values: ir.Value, least: ir.Value, greatest: ir.Value) -> ir.Value:
    """A vector of values, each limited by the least and the greatest of the LR pixels around it."""
    widening = b.fmul(b.fsub(greatest, least), b.splat(LIMIT_WIDENING, values.type.count))
    low, high = b.fsub(least, widening), b.fadd(greatest, widening)
    values = b.select(b.fcmp_ordered(">", values, low), values, low)
    return b.select(b.fcmp_ordered("<", values, high), values, high)


def emit_limits_in_steps(b: Builder, least: ir.Value, greatest: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Between which a pixel in steps must lie, as `integers.corrected_and_limited` has it: words, as these are."""
    widening = b.ashr(b.add(b.mul(b.sub(greatest, least), INT(3)), INT(1)), INT(1))
    return b.sub(least, widening), b.add(greatest, widening)


def emit_limit(module: ir.Module, scale: int, bits: int, target: Target) -> None:
    """`run(least, greatest, sr, small_pitch, pitch, width, height)`: of the small planes and the large one; width and
    height of the small ones; pitches in samples, of 8 or 16 bits each.
    """
    b, arguments = new_function(module, "run", POINTERS, SIZES, target)
    least, greatest, sr, small_pitch, pitch, width, height = arguments
    sample = ir.IntType(bits)

    def at(plane: ir.Value, row: ir.Value, row_pitch: ir.Value, x: ir.Value) -> ir.Value:
        return b.gep(plane, [b.add(b.mul(row, row_pitch), x)], source_etype=sample)

    def load(address: ir.Value, lanes: int) -> ir.Value:
        samples = b.load(address, typ=ir.VectorType(sample, lanes), align=bits // 8)
        return b.uitofp(samples, b.floats(lanes))

    def emit_row(row: ir.Value) -> None:
        def emit(x: ir.Value, lanes: int) -> None:
            around = [load(at(plane, row, small_pitch, x), lanes) for plane in (least, greatest)]
            around = [interleave(b, [each] * scale) for each in around]
            for phase in range(scale):
                large_row = b.add(b.mul(row, b.index(scale)), b.index(phase))
                address = at(sr, large_row, pitch, b.mul(x, b.index(scale)))
                limited = emit_limited(b, load(address, scale * lanes), *around)
                b.store(to_samples(b, limited, bits), address, align=bits // 8)

        b.along(width, emit)

    b.loop(b.index(0), height, 1, emit_row)
    b.ret_void()


@functools.cache
def _compiled(scale: int, bits: int, target: Target) -> Callable[..., None]:
    emit = functools.partial(emit_limit, scale=scale, bits=bits, target=target)
    types = [ctypes.c_void_p] * POINTERS + [ctypes.c_int64] * SIZES
    return machine_code(emit, ("limit", scale, bits), types, target)


def limit(least: NDArray[Any], greatest: NDArray[Any], sr: NDArray[np.uint8 | np.uint16], target: Target) -> None:
    """As `plain_limit` of ../limits.py. least and greatest have no gaps; rows of sr may have some."""
    (height, width), bits = least.shape, 8 * sr.itemsize
    pointers = (array.ctypes.data for array in (least, greatest, sr))
    _compiled(len(sr) // height, bits, target)(*pointers, width, sr.strides[0] // sr.itemsize, width, height)
