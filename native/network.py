"""FSRCNN as one native function for CPUs, which LLVM compiles (through llvmlite) when it is first needed.

Frameworks run a network layer by layer: each layer reads its input from memory and writes its output there, though a
pixel of FSRCNN costs little arithmetic. This form is fast for three reasons:

- One pass. The picture goes through all layers in blocks of columns, row by row: at each step every layer computes one
  row from the last three or five of the layer before, which is all that is kept. That fits in the L2 cache.
- Registers. A vector holds neighbouring pixels of one channel, so no lane is spent on padding 12 or 5 channels, and
  sums stay in registers: each pixel loaded is used for up to 14 outputs, each weight for up to four vectors. Bias and
  PReLU are applied before anything is stored.
- Nothing is multiplied by zero. The deconvolution's outputs are computed on the small picture, `scale` x `scale` of
  them for each of its pixels, with the 81 taps that there are.

Blocks and strips of rows overlap by what the layers reach, are computed independently and thus by several threads.
"""

import ctypes
import functools
import itertools
import math
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from native.llvm import FLOAT, FLOAT_ALIGNMENT, POINTER, Builder, Rows, interleave, machine_code
from native.planes import Plane
from native.target import Target
from native.threads import get_num_threads, in_threads

REACH = 2  # of the first convolution and of the deconvolution, in pixels of the small picture
KERNEL = 2 * REACH + 1
DECONV_KERNEL, DECONV_PADDING = 9, 4
LEAST_ROWS = 32  # that are worth a thread of their own
CACHE_LINE, FLOAT_BYTES = 64, 4

Taps = list[tuple[int, int, list[int]]]  # row and column of the kernel, and the outputs that have a weight there
Finish = Callable[[ir.Value, ir.Value, list[ir.Value]], None]  # of an output's number, slope, and vectors of sums

_compiling = threading.Lock()


def weights_at(taps: Taps) -> int:
    """How many weights there are for each channel."""
    return sum(len(outputs) for _, _, outputs in taps)


def square(size: int) -> list[tuple[int, int]]:
    """Row and column of each tap of a kernel, or of each phase."""
    return list(itertools.product(range(size), repeat=2))


def deconvolution_taps(scale: int, target: Target) -> list[Taps]:
    """For each block of outputs, whole rows of phases: see packing.py's `phases`."""
    block, _ = target.blocking(scale**2, scale)

    def has_weight(phase: int, place: int) -> bool:
        return 0 <= phase + DECONV_PADDING - scale * (place - REACH) < DECONV_KERNEL

    def taps_of(outputs: list[tuple[int, int]]) -> Taps:
        taps = []
        for row, column in square(KERNEL):
            there = [i for i, (y, x) in enumerate(outputs) if has_weight(y, row) and has_weight(x, column)]
            taps += [(row, column, there)] if there else []
        return taps

    outputs = square(scale)
    return [taps_of(outputs[first : first + block]) for first in range(0, len(outputs), block)]


def emit_sums(
    b: Builder, source: Rows, channels: int, taps: Taps, block: int, vectors: int, weights: ir.Value
) -> list[list[ir.Value]]:
    """Bias plus the sum over channels and taps, for each output of a block and each of some vectors of pixels.

    source: a row for each row of the kernel, at its first column. weights: the biases, then for each channel and tap
    the weights of the outputs that have one.
    """

    def add_channel(channel: ir.Value, *carried: ir.Value) -> list[ir.Value]:
        sums = list(carried)
        rows = source.moved(b, b.mul(channel, source.pitch)).addresses
        *rows, weight_at = b.settled([*rows, b.at(weights, b.mul(channel, b.index(weights_at(taps))))])
        place = itertools.count(block)
        for row, column, outputs in taps:
            pixels = [b.vector(b.at(rows[row], column + v * b.lanes)) for v in range(vectors)]
            for output in outputs:
                weight = b.broadcast(b.at(weight_at, next(place)))
                for v in range(vectors):
                    sums[output * vectors + v] = b.multiply_add(pixels[v], weight, sums[output * vectors + v])
            sums = b.settled(sums)
        return sums

    biases = [b.broadcast(b.at(weights, output)) for output in range(block)]
    start = [bias for bias in biases for _ in range(vectors)]
    sums = b.loop(b.index(0), b.index(channels), 1, add_channel, start)
    return [sums[i : i + vectors] for i in range(0, len(sums), vectors)]


class Convolution(NamedTuple):
    """A convolution, followed by PReLU, and where its parameters are among those of the network."""

    channels: int
    outputs: int
    taps: list[tuple[int, int]]  # row and column of each
    place: int

    @property
    def end(self) -> int:
        return self.place + self.outputs * (self.channels * len(self.taps) + 2)

    def vectors(self, target: Target) -> int:
        """Of pixels that are best computed at a time."""
        return target.blocking(self.outputs)[1]

    def emit(self, b: Builder, source: Rows, vectors: int, weights: ir.Value, finish: Finish) -> None:
        """The next vectors of pixels of all outputs; `finish` takes each with its number and its slope.

        source: a row for each row of the kernel, at its first column.
        """
        block, _ = b.target.blocking(self.outputs)
        taps = [(row, column, list(range(block))) for row, column in self.taps]
        per_output = self.channels * len(taps)

        def emit_block(first: ir.Value) -> None:
            of_block = b.at(weights, self.place, b.mul(first, b.index(per_output + 2)))
            sums = emit_sums(b, source, self.channels, taps, block, vectors, of_block)
            for output in range(block):
                slope = b.broadcast(b.at(of_block, block * (per_output + 1) + output))
                finish(b.add(first, b.index(output)), slope, sums[output])

        b.loop(b.index(0), b.index(self.outputs), block, emit_block)


def convolutions(d: int, s: int, m: int) -> list[Convolution]:
    """Those of FSRCNN(d, s, m), in order."""
    layers = [Convolution(1, d, square(KERNEL), 0)]
    for channels, outputs, size in [(d, s, 1), *[(s, s, 3)] * m, (s, d, 1)]:
        layers.append(Convolution(channels, outputs, square(size), layers[-1].end))
    return layers


def emit_prelu(b: Builder, total: ir.Value, slope: ir.Value) -> ir.Value:
    return b.select(b.fcmp_ordered(">", total, b.constant(0.0)), total, b.fmul(total, slope))


class Ring(NamedTuple):
    """The last rows that a layer has computed, in memory: rows x channels x pitch floats."""

    start: ir.Value
    rows: int
    channels: int
    pitch: ir.Value

    def around(self, b: Builder, row: ir.Value, reach: int) -> Rows:
        """The rows from `reach` before this one to as many after it; no row's number may be negative."""
        numbers = (b.urem(b.add(row, b.index(i)), b.index(self.rows)) for i in range(-reach, reach + 1))
        size = b.mul(self.pitch, b.index(self.channels))
        return Rows([b.at(self.start, b.mul(number, size)) for number in numbers], self.pitch)


def emit_deconvolution(
    b: Builder, source: Rows, channels: int, scale: int, width: ir.Value, weights: ir.Value, to: Rows
) -> None:
    """`scale` rows of the large picture from five of the small one."""
    block, vectors = b.target.blocking(scale**2, scale)

    def emit_rows(taps: Taps, weights: ir.Value, rows: list[ir.Value], x: ir.Value, vectors: int) -> None:
        sums = emit_sums(b, source.moved(b, x, -REACH), channels, taps, block, vectors, weights)
        for i, row in enumerate(rows):
            for v in range(vectors):
                pixels = interleave(b, [phase[v] for phase in sums[i * scale : (i + 1) * scale]])
                b.store(pixels, b.at(row, b.mul(x, b.index(scale)), v * b.lanes * scale), align=FLOAT_ALIGNMENT)

    at_once = block // scale
    for i, taps in enumerate(deconvolution_taps(scale, b.target)):
        rows = to.addresses[i * at_once : (i + 1) * at_once]
        b.across(width, vectors, functools.partial(emit_rows, taps, weights, rows))
        weights = b.at(weights, block + channels * weights_at(taps))


def halo_of(m: int) -> int:
    """How far around a block the mapping layers and the deconvolution reach, in pixels of the small picture."""
    return m + REACH


class Work(NamedTuple):
    """The work memory of a thread, whose rows are those of a block of columns and of what is around it."""

    d: int
    s: int
    m: int
    scale: int
    target: Target

    @property
    def rows(self) -> int:
        """A mask, five of the picture, three of each layer before the deconvolution's input, and five of that."""
        return 1 + KERNEL + 3 * self.s * (self.m + 1) + KERNEL * self.d

    @property
    def beyond(self) -> int:
        """How many floats a row is longer than the block: as far as the layers reach, and a vector on each side."""
        return self.target.whole_vectors(2 * halo_of(self.m)) + 2 * self.target.lanes

    @property
    def patch(self) -> int:
        """Floats of the features that are computed before they are shrunk."""
        return self.d * convolutions(self.d, self.s, self.m)[1].vectors(self.target) * self.target.lanes

    @property
    def per_column(self) -> int:
        return self.rows + self.scale**2

    @property
    def fixed(self) -> int:
        return self.rows * self.beyond + self.patch + 2 * self.target.lanes

    @property
    def most_columns(self) -> int:
        """Of a block whose work memory fits in the L2 cache."""
        return self.target.l2 // (FLOAT_BYTES * self.per_column)

    def columns(self, width: int) -> int:
        """Of each of the fewest blocks that cover the width: whole vectors."""
        blocks = math.ceil(width / self.most_columns)
        return self.target.whole_vectors(math.ceil(width / blocks))

    def floats(self, columns: int) -> int:
        """For blocks of so many columns, with what it takes to begin at an address that suits the cache."""
        return columns * self.per_column + self.fixed + CACHE_LINE // FLOAT_BYTES


POINTERS = "lr sr weights work".split()
INDICES = "lr_stride sr_stride width height first last left columns eight_bits full_range".split()


def emit_network(module: ir.Module, name: str, memory: Work) -> ir.Function:
    """A function that enlarges rows `first` to `last` of the `columns` from `left` on, all layers in one pass.

    Its arguments are POINTERS, of the small and the large picture's first pixel, of the parameters and of work memory,
    and INDICES: bytes from row to row, the small picture's size, the block's place, how many columns it has (whole
    vectors, which may end beyond the picture), and what the pixels are, see planes.py.
    """
    d, s, m, scale, target = memory
    types = [POINTER] * len(POINTERS) + [target.index] * len(INDICES)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
    lr, sr, weights, work, lr_stride, sr_stride, width, height, first, last, left, columns, *flags = function.args
    b, halo, lanes = Builder(function.append_basic_block(), target), halo_of(m), target.lanes
    flags = [b.icmp_signed("!=", flag, b.index(0)) for flag in flags]
    small, large = Plane(lr, lr_stride, *flags), Plane(sr, sr_stride, *flags)

    pitch = b.add(columns, b.index(memory.beyond))
    wider = b.sub(pitch, b.index(2 * lanes))
    work = b.aligned(work, CACHE_LINE)
    b.clear(work, b.add(b.mul(columns, b.index(memory.per_column)), b.index(memory.fixed)))

    def row_at(number: int) -> ir.Value:
        return b.at(work, lanes, b.mul(pitch, b.index(number)))

    inside, picture = row_at(0), Ring(row_at(1), KERNEL, 1, pitch)
    shrunk = [Ring(row_at(1 + KERNEL + 3 * s * i), 3, s, pitch) for i in range(m + 1)]
    expanded = Ring(row_at(1 + KERNEL + 3 * s * (m + 1)), KERNEL, d, pitch)
    features, shrink, *mapping, expand = convolutions(d, s, m)
    patch = Rows([row_at(memory.rows)], b.index(shrink.vectors(target) * lanes))
    enlarged = b.at(patch.addresses[0], memory.patch)
    enlarged_pitch = b.mul(columns, b.index(scale))

    # Columns of the picture, counted from the first of the rows: those that there are.
    start = b.sub(left, b.index(halo))
    from_column = b.greatest(b.index(-REACH), b.sub(b.index(0), start))
    length = b.sub(b.least(b.add(wider, b.index(REACH)), b.sub(width, start)), from_column)

    def emit_inside(x: ir.Value) -> None:
        column = b.add(start, x)
        there = b.and_(b.icmp_signed(">=", column, b.index(0)), b.icmp_signed("<", column, width))
        b.store(b.select(there, ir.Constant(FLOAT, 1.0), ir.Constant(FLOAT, 0.0)), b.at(inside, x))

    b.loop(b.index(0), wider, 1, emit_inside)

    def row_of(step: ir.Value, delay: int) -> ir.Value:
        return b.sub(b.add(first, step), b.index(halo + delay))

    def in_ring(step: ir.Value, delay: int) -> ir.Value:
        return b.add(step, b.index(15 * halo - delay))  # 15: of three and of five rows; positive, the same place

    def is_there(row: ir.Value) -> ir.Value:
        return b.and_(b.icmp_signed(">=", row, b.index(0)), b.icmp_signed("<", row, height))

    def emit_read(step: ir.Value) -> None:
        """The row of the picture that the features of this step need last."""
        row, to = row_of(step, -REACH), b.at(picture.around(b, in_ring(step, -REACH), 0).addresses[0], from_column)
        with b.if_else(is_there(row)) as (there, beyond):
            with there:
                small.emit_read(b, row, b.add(start, from_column), length, to)
            with beyond:
                b.clear(to, length)

    def emit_step(step: ir.Value) -> None:
        """A row of each layer, of the later ones `delay` rows further up, where their input is complete."""

        def emit_where_there(delay: int, into: Rows, channels: int, emit: Callable[[], None]) -> None:
            """A layer's row; zeros beyond the picture, and in the first rows, which nothing depends on."""
            needed = b.icmp_signed(">=", step, b.index(2 * delay))
            with b.if_else(b.and_(needed, is_there(row_of(step, delay)))) as (there, beyond):
                with there:
                    emit()
                with beyond:
                    b.clear(into.addresses[0], b.mul(into.pitch, b.index(channels)))

        def emit_masked(layer: Convolution, source: Rows, vectors: int, mask: ir.Value, to: Rows) -> None:
            """The next vectors of pixels, times the mask, which is 0 for those beyond the picture."""

            def store(output: ir.Value, slope: ir.Value, sums: list[ir.Value]) -> None:
                row = b.at(to.addresses[0], b.mul(output, to.pitch))
                for v, total in enumerate(sums):
                    kept = b.fmul(emit_prelu(b, total, slope), b.vector(b.at(mask, v * lanes)))
                    b.store(kept, b.at(row, v * lanes), align=FLOAT_ALIGNMENT)

            layer.emit(b, source.moved(b, -(len(source.addresses) // 2)), vectors, weights, store)

        def emit_layer(layer: Convolution, source: Ring, to: Ring, delay: int) -> None:
            into = to.around(b, in_ring(step, delay), 0)
            rows = source.around(b, in_ring(step, delay), math.isqrt(len(layer.taps)) // 2)

            def emit(x: ir.Value, vectors: int) -> None:
                emit_masked(layer, rows.moved(b, x), vectors, b.at(inside, x), into.moved(b, x))

            across = functools.partial(b.across, wider, layer.vectors(target), emit)
            emit_where_there(delay, into, layer.outputs, across)

        emit_read(step)
        around = picture.around(b, in_ring(step, 0), REACH)
        into = shrunk[0].around(b, in_ring(step, 0), 0)

        def emit_features_and_shrink(x: ir.Value, vectors: int) -> None:
            """Together, so that the features never leave the L1 cache."""
            at_once = min(vectors, features.vectors(target))
            for offset in range(0, vectors * lanes, at_once * lanes):
                pixels, to = around.moved(b, x, offset), patch.moved(b, offset)
                emit_masked(features, pixels, at_once, b.at(inside, x, offset), to)
            emit_masked(shrink, patch, vectors, b.at(inside, x), into.moved(b, x))

        across = functools.partial(b.across, wider, shrink.vectors(target), emit_features_and_shrink)
        emit_where_there(0, into, s, across)
        for i, layer in enumerate(mapping):
            emit_layer(layer, shrunk[i], shrunk[i + 1], i + 1)
        emit_layer(expand, shrunk[m], expanded, m)
        row = row_of(step, halo)
        with b.if_then(b.icmp_signed(">=", row, first)):
            to = Rows([b.at(enlarged, b.mul(b.index(i), enlarged_pitch)) for i in range(scale)], enlarged_pitch)
            source = expanded.around(b, in_ring(step, halo), REACH).moved(b, halo)
            emit_deconvolution(b, source, d, scale, columns, b.at(weights, expand.end), to)
            column, pixels = (
                b.mul(of_small, b.index(scale)) for of_small in (left, b.least(columns, b.sub(width, left)))
            )

            def emit_write(i: ir.Value) -> None:
                into_row = b.add(b.mul(row, b.index(scale)), i)
                large.emit_write(b, b.at(enlarged, b.mul(i, enlarged_pitch)), pixels, into_row, column)

            b.loop(b.index(0), b.index(scale), 1, emit_write)

    b.loop(b.index(-2 * REACH), b.index(0), 1, emit_read)
    b.loop(b.index(0), b.add(b.sub(last, first), b.index(2 * halo)), 1, emit_step)
    b.ret_void()
    return function


@functools.cache
def compiled(memory: Work) -> Callable[..., None]:
    """The native function for one shape of network; takes about a second to compile."""
    types = [ctypes.c_void_p] * len(POINTERS) + [ctypes.c_int64] * len(INDICES)
    emit = functools.partial(emit_network, name="run", memory=memory)
    return machine_code(emit, ("network", memory), types, memory.target)


def upscale(
    x: NDArray[np.float32], weights: NDArray[np.float32], target: Target, d: int, s: int, m: int, upscale_factor: int
) -> NDArray[np.float32]:
    """Runs the network: N x 1 x H x W to N x 1 x scale*H x scale*W.

    weights: as packing.py makes them for the target, whose code this machine must be able to run. Works on
    `get_num_threads` threads, each with less than a megabyte of its own.
    """
    memory = Work(d, s, m, upscale_factor, target)
    x, threads, (number, _, height, width) = np.ascontiguousarray(x), get_num_threads(), x.shape
    columns = memory.columns(width)
    blocks = math.ceil(width / columns)
    strips = min(threads // math.gcd(blocks * number, threads), math.ceil(height / LEAST_ROWS))
    output = np.empty((number, 1, upscale_factor * height, upscale_factor * width), np.float32)

    def run_strip(image: int, strip: int, block: int) -> None:
        rows = height * strip // strips, height * (strip + 1) // strips
        run_block(memory, weights, x[image, 0], output[image, 0], *rows, block * columns, columns)

    in_threads(run_strip, list(itertools.product(range(number), range(strips), range(blocks))), threads)
    return output


def run_block(
    memory: Work,
    weights: NDArray[np.float32],
    lr: NDArray[np.float32 | np.uint8],
    sr: NDArray[np.float32 | np.uint8],
    first: int,
    last: int,
    left: int,
    columns: int,
    full_range: bool = False,
) -> None:
    """Enlarges rows `first` to `last` of the columns from `left` on, in this thread. lr: H x W; sr: of the whole; both
    float32, or both uint8, whose rows may have gaps.
    """
    with _compiling:  # by one thread, while the others wait for it
        run = compiled(memory)
    work = np.empty(memory.floats(columns), np.float32)
    planes, eight_bits = (array.ctypes.data for array in (lr, sr, weights, work)), lr.dtype == np.uint8
    run(*planes, lr.strides[0], sr.strides[0], *lr.shape[::-1], first, last, left, columns, eight_bits, full_range)
