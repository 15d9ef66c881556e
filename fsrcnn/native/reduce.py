"""Weighted sums of rows, compiled: the columns of a plane or picture resized; ../reduce.py says of what."""

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from fsrcnn.native.llvm import FLOAT, FLOAT_ALIGNMENT, machine_code, new_function
from fsrcnn.native.target import Target
from fsrcnn.resize import Axis

POINTERS, SIZES = 4, 4
FLOAT_BITS = 32


def emit_resize_rows(module: ir.Module, bits: int, target: Target) -> None:
    """`run(source, weights, indices, to, width, pitch, height, taps)`: of samples of 8 or 16 bits or floats, with so
    many from each row to the next, to `height` rows of `width` floats. indices: int64.
    """
    b, arguments = new_function(module, "run", POINTERS, SIZES, target)
    source, weights, indices, to, width, pitch, height, taps = arguments
    sample = FLOAT if bits == FLOAT_BITS else ir.IntType(bits)

    def emit_row(y: ir.Value) -> None:
        first = b.mul(y, taps)

        def emit(x: ir.Value, lanes: int) -> None:
            def emit_tap(tap: ir.Value, total: ir.Value) -> Sequence[ir.Value]:
                place = b.add(first, tap)
                row = b.load(b.gep(indices, [place], source_etype=target.index), typ=target.index, align=8)
                address = b.gep(source, [b.add(b.mul(row, pitch), x)], source_etype=sample)
                values = b.load(address, typ=ir.VectorType(sample, lanes), align=bits // 8)
                values = values if bits == FLOAT_BITS else b.uitofp(values, b.floats(lanes))
                weight = b.load(b.at(weights, place), typ=FLOAT, align=FLOAT_ALIGNMENT)
                return [b.fadd(total, b.fmul(values, b.splat(weight, lanes)))]

            (total,) = b.loop(b.index(0), taps, 1, emit_tap, [b.splat(0.0, lanes)])
            b.store(total, b.at(to, b.add(b.mul(y, width), x)), align=FLOAT_ALIGNMENT)

        b.along(width, emit)

    b.loop(b.index(0), height, 1, emit_row)
    b.ret_void()


@functools.cache
def _compiled(bits: int, target: Target) -> Callable[..., None]:
    emit = functools.partial(emit_resize_rows, bits=bits, target=target)
    types = [ctypes.c_void_p] * POINTERS + [ctypes.c_int64] * SIZES
    return machine_code(emit, ("resize_rows", bits), types, target)


def resize_rows(source: NDArray[Any], axis: Axis, target: Target) -> NDArray[np.float32]:
    """As `plain_resize_rows` of ../reduce.py."""
    source = source if source[0].flags.c_contiguous else np.ascontiguousarray(source)  # rows may have gaps
    weights, indices = (np.ascontiguousarray(each) for each in axis)
    height, taps = weights.shape
    resized = np.empty((height, *source.shape[1:]), np.float32)
    pointers = (array.ctypes.data for array in (source, weights, indices, resized))
    sizes = (resized[0].size, source.strides[0] // source.itemsize, height, taps)
    _compiled(8 * source.itemsize, target)(*pointers, *sizes)
    return resized
