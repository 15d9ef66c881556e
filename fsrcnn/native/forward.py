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
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from fsrcnn.geometry import FEATURES_KERNEL, MAP_KERNEL, PHASES_KERNEL, PHASES_REACH, Sizes
from fsrcnn.native.llvm import (
    FLOAT,
    FLOAT_ALIGNMENT,
    FLOAT_BYTES,
    Builder,
    Rows,
    interleave,
    machine_code,
    new_function,
)
from fsrcnn.native.packing import Array, Taps, deconvolution_taps, pack, weights_at
from fsrcnn.native.planes import StridedPlane
from fsrcnn.native.target import Target
from fsrcnn.weights import Weights

FEATURES_REACH, MAP_REACH = FEATURES_KERNEL // 2, MAP_KERNEL // 2
ROUND = math.lcm(FEATURES_KERNEL, MAP_KERNEL, PHASES_KERNEL)  # rows after which every ring is at the same place again
CACHE_LINE = 64

Finish = Callable[[ir.Value, ir.Value, list[ir.Value]], None]  # takes an output's number, its slope, its sums by vector

_compiling = threading.Lock()


def square(size: int) -> list[tuple[int, int]]:
    """Row and column of each tap of a kernel."""
    return list(itertools.product(range(size), range(size)))


def emit_sums(
    b: Builder, source: Rows, channels: int, taps: Taps, block: int, vectors: int, weights: ir.Value
) -> list[list[ir.Value]]:
    """Bias plus the sum over channels and taps: for each output of a block, `vectors` vectors of pixels.

    source: one row for each of the kernel, at the kernel's first column. weights: address of the biases, which the
    weights follow, for each channel and tap those of the outputs that have one.
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
    """A convolution followed by PReLU."""

    channels: int
    outputs: int
    taps: list[tuple[int, int]]  # row and column of each
    place: int  # of its first parameter among those of the network

    @property
    def end(self) -> int:
        return self.place + self.outputs * (self.channels * len(self.taps) + 2)

    @property
    def size(self) -> int:
        """Of the kernel, along each axis."""
        return 1 + self.taps[-1][0]

    @property
    def stored(self) -> int:
        """Rows of memory that a row of its outputs takes."""
        return self.outputs

    def blocking(self, target: Target) -> tuple[int, int]:
        """How many outputs and how many vectors of pixels are best computed at a time."""
        return target.blocking(self.outputs)

    def vectors(self, target: Target) -> int:
        return self.blocking(target)[1]

    def emit(self, b: Builder, source: Rows, vectors: int, weights: ir.Value, finish: Finish) -> None:
        """The next vectors of pixels: calls `finish` for each output.

        source: as for `emit_sums`. weights: address of the network's parameters.
        """
        block, _ = self.blocking(b.target)
        taps = [(row, column, list(range(block))) for row, column in self.taps]
        per_output = self.channels * len(taps)

        def emit_block(first: ir.Value) -> None:
            of_block = b.at(weights, self.place, b.mul(first, b.index(per_output + 2)))
            sums = emit_sums(b, source, self.channels, taps, block, vectors, of_block)
            for output in range(block):
                slope = b.broadcast(b.at(of_block, block * (per_output + 1) + output))
                finish(b.add(first, b.index(output)), slope, sums[output])

        b.loop(b.index(0), b.index(self.outputs), block, emit_block)


def convolutions(sizes: Sizes) -> list[Convolution]:
    """The network's, in order."""
    d, s, m = sizes.d, sizes.s, sizes.m
    layers = [Convolution(1, d, square(FEATURES_KERNEL), 0)]
    for channels, outputs, size in [(d, s, 1), *[(s, s, MAP_KERNEL)] * m, (s, d, 1)]:
        layers.append(Convolution(channels, outputs, square(size), layers[-1].end))
    return layers


def emit_prelu(b: Builder, total: ir.Value, slope: ir.Value) -> ir.Value:
    return b.select(b.fcmp_ordered(">", total, b.constant(0.0)), total, b.fmul(total, slope))


# --- the work memory of a thread ---


class MemoryPlan(NamedTuple):
    """What the function is compiled for, and how it divides a thread's work memory: first rows of floats, as long as a
    block of columns and what its layers reach around it, then a patch of features, then the enlarged rows.
    """

    sizes: Sizes
    target: Target

    @property
    def layers(self) -> Sequence[Convolution]:
        return convolutions(self.sizes)

    @property
    def halo(self) -> int:
        """How far around a block the mapping layers and the deconvolution reach, in LR pixels."""
        return self.sizes.m * MAP_REACH + PHASES_REACH

    @property
    def rings(self) -> list[tuple[int, int]]:
        """Rows and channels of each `Ring`: the LR picture, the inputs of the layers from the first mapping one on, and
        the deconvolution's input.
        """
        _, d, s, m = self.sizes
        return [(FEATURES_KERNEL, 1), *[(MAP_KERNEL, s)] * (m + 1), (PHASES_KERNEL, d)]

    @property
    def rows(self) -> int:
        """The mask, and those of the rings."""
        return 1 + sum(rows * channels for rows, channels in self.rings)

    @property
    def beyond(self) -> int:
        """How many floats a row is longer than the block: the halo, in whole vectors, and a vector on each side."""
        return self.target.whole_vectors(2 * self.halo) + 2 * self.target.lanes

    @property
    def patch_pitch(self) -> int:
        """Floats of a channel of the features that are computed before they are shrunk."""
        return self.layers[1].vectors(self.target) * self.target.lanes

    @property
    def patch(self) -> int:
        """Floats of the features that are computed before they are shrunk."""
        return self.layers[0].stored * self.patch_pitch

    @property
    def per_column(self) -> int:
        """Floats for each column of the block."""
        return self.rows + self.sizes.upscale_factor**2

    @property
    def fixed(self) -> int:
        """Floats whatever the block."""
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
        """The size of the work memory for blocks of so many columns; it may begin anywhere."""
        return columns * self.per_column + self.fixed + CACHE_LINE // FLOAT_BYTES


class Ring(NamedTuple):
    """The last rows that a layer has computed, in memory: rows x channels x pitch floats."""

    start: ir.Value
    rows: int
    channels: int
    pitch: ir.Value

    def around(self, b: Builder, number: ir.Value, reach: int) -> Rows:
        """The rows from `reach` before this one to `reach` after it; no row's number may be negative."""
        places = (b.urem(b.add(number, b.index(i)), b.index(self.rows)) for i in range(-reach, reach + 1))
        size = b.mul(self.pitch, b.index(self.channels))
        return Rows([b.at(self.start, b.mul(place, size)) for place in places], self.pitch)

    def row(self, b: Builder, number: ir.Value) -> Rows:
        return self.around(b, number, 0)


class Memory:
    """Where everything is in a thread's work memory, which this clears."""

    def __init__(self, b: Builder, plan: MemoryPlan, start: ir.Value, columns: ir.Value) -> None:
        self.b, self.lanes = b, plan.target.lanes
        self.pitch = b.add(columns, b.index(plan.beyond))
        self.width = b.sub(self.pitch, b.index(2 * self.lanes))  # of a row without the vector on each side
        self.start = b.aligned(start, CACHE_LINE)
        b.clear(self.start, b.add(b.mul(columns, b.index(plan.per_column)), b.index(plan.fixed)))

        self.mask, self.rings, first = self.row(0), [], 1  # the mask: 0 beyond the picture
        for rows, channels in plan.rings:
            self.rings.append(Ring(self.row(first), rows, channels, self.pitch))
            first += rows * channels
        self.patch = Rows([self.row(plan.rows)], b.index(plan.patch_pitch))
        self.enlarged = b.at(self.patch.addresses[0], plan.patch)
        self.enlarged_pitch = b.mul(columns, b.index(plan.sizes.upscale_factor))

    def row(self, number: int) -> ir.Value:
        return self.b.at(self.start, self.lanes, self.b.mul(self.pitch, self.b.index(number)))


# --- the function ---


class Arguments(NamedTuple):
    """Of the function: POINTERS addresses, then integers as wide as an address."""

    lr: ir.Value  # the small picture's first pixel
    sr: ir.Value  # the large picture's first pixel
    weights: ir.Value  # as packing.py orders them
    work: ir.Value  # memory of `MemoryPlan.floats`
    lr_stride: ir.Value  # bytes from row to row
    sr_stride: ir.Value
    width: ir.Value  # of the small picture
    height: ir.Value
    first: ir.Value  # row of the small picture that is enlarged
    last: ir.Value  # row up to which, not including it
    left: ir.Value  # first column of the block
    columns: ir.Value  # of the block: whole vectors, which may end beyond the picture
    eight_bits: ir.Value  # what the pixels are: see `StridedPlane`
    full_range: ir.Value


POINTERS = 4


class BlockProgram:
    """Emits what the function does with a block of columns: all layers in one pass, a row of each at a step.

    The features begin at step 0, with the row that is a halo above `first`. A layer lags `delay` rows behind them: each
    mapping layer by one more, as it needs the row below its own; the deconvolution by the halo.
    """

    def __init__(self, b: Builder, plan: MemoryPlan, given: Arguments) -> None:
        self.b, self.plan, self.given = b, plan, given
        flags = [b.icmp_signed("!=", flag, b.index(0)) for flag in (given.eight_bits, given.full_range)]
        self.lr = StridedPlane(given.lr, given.lr_stride, *flags)
        self.sr = StridedPlane(given.sr, given.sr_stride, *flags)
        self.memory = Memory(b, plan, given.work, given.columns)
        self.picture, *self.mapped, self.expanded = self.memory.rings
        self.features, self.shrink, *self.mapping, self.expand = plan.layers

        # The LR picture's column at the start of the memory's rows; where in these it begins, and how much they take.
        self.start = b.sub(given.left, b.index(plan.halo))
        self.begin = b.greatest(b.index(-FEATURES_REACH), b.sub(b.index(0), self.start))
        end = b.least(b.add(self.memory.width, b.index(FEATURES_REACH)), b.sub(given.width, self.start))
        self.length = b.sub(end, self.begin)

    def emit(self) -> None:
        b, given = self.b, self.given
        b.loop(b.index(0), self.memory.width, 1, self.emit_mask)
        b.loop(b.index(-2 * FEATURES_REACH), b.index(0), 1, self.emit_read)
        steps = b.add(b.sub(given.last, given.first), b.index(2 * self.plan.halo))
        b.loop(b.index(0), steps, 1, self.emit_step)

    def emit_step(self, step: ir.Value) -> None:
        """A row of each layer; from where their input is complete, rows of the SR picture."""
        self.emit_read(step)
        self.emit_first_layers(step)
        for delay, layer in enumerate(self.mapping, 1):
            self.emit_layer(layer, self.mapped[delay - 1], self.mapped[delay], step, delay)
        self.emit_layer(self.expand, self.mapped[-1], self.expanded, step, len(self.mapping))
        row = self.row_of(step, self.plan.halo)
        with self.b.if_then(self.b.icmp_signed(">=", row, self.given.first)):
            self.emit_deconvolution(step)
            self.emit_write(row)

    def row_of(self, step: ir.Value, delay: int) -> ir.Value:
        """The picture's row that a layer computes at this step."""
        b = self.b
        return b.sub(b.add(self.given.first, step), b.index(self.plan.halo + delay))

    def in_ring(self, step: ir.Value, delay: int) -> ir.Value:
        """The number of that row in the rings: not negative, and one more from each row to the next."""
        return self.b.add(step, self.b.index(ROUND * self.plan.halo - delay))

    def in_picture(self, row: ir.Value) -> ir.Value:
        b = self.b
        return b.and_(b.icmp_signed(">=", row, b.index(0)), b.icmp_signed("<", row, self.given.height))

    def emit_mask(self, x: ir.Value) -> None:
        b, column = self.b, self.b.add(self.start, x)
        there = b.and_(b.icmp_signed(">=", column, b.index(0)), b.icmp_signed("<", column, self.given.width))
        b.store(b.select(there, FLOAT(1.0), FLOAT(0.0)), b.at(self.memory.mask, x))

    def emit_read(self, step: ir.Value) -> None:
        """The last row of the LR picture that the features of this step need."""
        b, row = self.b, self.row_of(step, -FEATURES_REACH)
        to = b.at(self.picture.row(b, self.in_ring(step, -FEATURES_REACH)).addresses[0], self.begin)
        with b.if_else(self.in_picture(row)) as (there, beyond):
            with there:
                self.lr.emit_read(b, row, b.add(self.start, self.begin), self.length, to)
            with beyond:
                b.clear(to, self.length)

    def emit_first_layers(self, step: ir.Value) -> None:
        """The features and what they are shrunk to, in turns, so that the features never leave the L1 cache."""
        source = self.picture.around(self.b, self.in_ring(step, 0), FEATURES_REACH)
        to = self.mapped[0].row(self.b, self.in_ring(step, 0))
        self._emit_row(self.shrink, to, step, 0, functools.partial(self._emit_shrunk_features, source, to))

    def _emit_shrunk_features(self, source: Rows, to: Rows, x: ir.Value, vectors: int) -> None:
        b, mask, patch, lanes = self.b, self.memory.mask, self.memory.patch, self.b.lanes
        at_once = min(vectors, self.features.vectors(b.target))
        for offset in range(0, vectors * lanes, at_once * lanes):
            pixels, features = source.moved(b, x, offset), patch.moved(b, offset)
            self.emit_pixels(self.features, pixels, b.at(mask, x, offset), features, at_once)
        self.emit_pixels(self.shrink, patch, b.at(mask, x), to.moved(b, x), vectors)

    def emit_layer(self, layer: Convolution, source: Ring, to: Ring, step: ir.Value, delay: int) -> None:
        """A row of a layer from the rows around it of the layer before."""
        b, mask = self.b, self.memory.mask
        into = to.row(b, self.in_ring(step, delay))
        rows = source.around(b, self.in_ring(step, delay), layer.size // 2)

        def emit(x: ir.Value, vectors: int) -> None:
            self.emit_pixels(layer, rows.moved(b, x), b.at(mask, x), into.moved(b, x), vectors)

        self._emit_row(layer, into, step, delay, emit)

    def _emit_row(
        self, layer: Convolution, to: Rows, step: ir.Value, delay: int, emit: Callable[[ir.Value, int], None]
    ) -> None:
        """emit(x, vectors) along a layer's row; zeros beyond the picture and in its first rows, which nothing needs."""
        b, needed = self.b, self.b.icmp_signed(">=", step, self.b.index(2 * delay))
        with b.if_else(b.and_(needed, self.in_picture(self.row_of(step, delay)))) as (there, beyond):
            with there:
                b.across(self.memory.width, layer.vectors(b.target), emit)
            with beyond:
                b.clear(to.addresses[0], b.mul(to.pitch, b.index(layer.stored)))

    def emit_pixels(self, layer: Convolution, source: Rows, mask: ir.Value, to: Rows, vectors: int) -> None:
        """The next vectors of a layer's pixels, zero where the mask is."""
        b = self.b

        def store(output: ir.Value, slope: ir.Value, sums: list[ir.Value]) -> None:
            row = b.at(to.addresses[0], b.mul(output, to.pitch))
            for v, total in enumerate(sums):
                masked = b.fmul(emit_prelu(b, total, slope), b.vector(b.at(mask, v * b.lanes)))
                b.store(masked, b.at(row, v * b.lanes), align=FLOAT_ALIGNMENT)

        layer.emit(b, source.moved(b, -(layer.size // 2)), vectors, self.given.weights, store)

    def emit_deconvolution(self, step: ir.Value) -> None:
        """`scale` rows of the SR picture from five of the deconvolution's input."""
        b, scale, channels = self.b, self.plan.sizes.upscale_factor, self.expanded.channels
        to = [b.at(self.memory.enlarged, b.mul(b.index(i), self.memory.enlarged_pitch)) for i in range(scale)]
        source = self.expanded.around(b, self.in_ring(step, self.plan.halo), PHASES_REACH).moved(b, self.plan.halo)
        weights = b.at(self.given.weights, self.expand.end)
        block, vectors = b.target.blocking(scale**2, scale)
        for taps in deconvolution_taps(scale, b.target):
            rows, to = to[: block // scale], to[block // scale :]
            emit = functools.partial(self.emit_phases, taps, source, weights, rows)
            b.across(self.given.columns, vectors, emit)
            weights = b.at(weights, block + channels * weights_at(taps))

    def emit_phases(
        self, taps: Taps, source: Rows, weights: ir.Value, to: list[ir.Value], x: ir.Value, vectors: int
    ) -> None:
        """The next vectors of pixels of some rows, whose phases are interleaved."""
        b, (scale, d, *_) = self.b, self.plan.sizes
        sums = emit_sums(b, source.moved(b, x, -PHASES_REACH), d, taps, scale * len(to), vectors, weights)
        for i, row in enumerate(to):
            for v in range(vectors):
                pixels = interleave(b, [phase[v] for phase in sums[i * scale : (i + 1) * scale]])
                b.store(pixels, b.at(row, b.mul(x, b.index(scale)), v * b.lanes * scale), align=FLOAT_ALIGNMENT)

    def emit_write(self, row: ir.Value) -> None:
        """The enlarged rows of the LR picture's row to the SR picture."""
        b, given, memory, scale = self.b, self.given, self.memory, self.b.index(self.plan.sizes.upscale_factor)
        columns = b.least(given.columns, b.sub(given.width, given.left))
        left, pixels = b.mul(given.left, scale), b.mul(columns, scale)

        def emit(i: ir.Value) -> None:
            into_row = b.add(b.mul(row, scale), i)
            self.emit_row_write(b.at(memory.enlarged, b.mul(i, memory.enlarged_pitch)), pixels, into_row, left)

        b.loop(b.index(0), scale, 1, emit)

    def emit_row_write(self, source: ir.Value, pixels: ir.Value, row: ir.Value, left: ir.Value) -> None:
        self.sr.emit_write(self.b, source, pixels, row, left)


def emit_network(module: ir.Module, name: str, plan: MemoryPlan) -> ir.Function:
    """The function that enlarges rows `first` to `last` of a block of columns; `Arguments` says how it is called."""
    b, arguments = new_function(module, name, POINTERS, len(Arguments._fields) - POINTERS, plan.target)
    BlockProgram(b, plan, Arguments(*arguments)).emit()
    b.ret_void()
    return b.function


Emit = Callable[..., ir.Function]  # adds a network's function to a module: of the module, its name and a plan


@functools.cache
def compiled(emit: Emit, plan: MemoryPlan) -> Callable[..., None]:
    """The native function that `emit` adds to a module; takes about a second to compile."""
    types = [ctypes.c_void_p] * POINTERS + [ctypes.c_int64] * (len(Arguments._fields) - POINTERS)
    named = functools.partial(emit, name="run", plan=plan)
    return machine_code(named, (emit.__name__, plan), types, plan.target)


class BlockFunction:
    """A network with its weights, compiled for a target whose code this machine can run."""

    def __init__(self, emit: Emit, plan: MemoryPlan, packed: Array) -> None:
        """packed: the weights in the order in which the function reads them."""
        self._emit, self._plan, self._packed = emit, plan, packed

    def lefts(self, width: int) -> range:
        """The first columns of the blocks that a picture of this width is enlarged in."""
        return range(0, width, self._plan.columns(width))

    def run(
        self,
        lr: Array,
        sr: Array,
        first: int,
        last: int,
        left: int,
        full_range: bool = False,
    ) -> None:
        """Enlarges rows `first` to `last` of the block of columns from `left` on, in this thread.

        lr: H x W luma; sr: scale*H x scale*W, of which the block's pixels are written. Both of the type that the form
        takes, or both uint8 of limited or full range; their rows may have gaps.
        """
        with _compiling:  # by one thread, while the others wait for it
            run = compiled(self._emit, self._plan)
        columns = self._plan.columns(lr.shape[1])
        work = np.empty(self._plan.floats(columns), np.float32)
        pointers, eight_bits = (array.ctypes.data for array in (lr, sr, self._packed, work)), lr.dtype == np.uint8
        height, width = lr.shape
        strides = lr.strides[0], sr.strides[0]
        run(*pointers, *strides, width, height, first, last, left, columns, eight_bits, full_range)


class Forward(BlockFunction):
    """The network in float32: of luma in [0, 1]."""

    def __init__(self, weights: Weights, target: Target) -> None:
        packed = pack(list(weights.parameters.values()), weights.upscale_factor, target)
        super().__init__(emit_network, MemoryPlan(weights.sizes, target), packed)
