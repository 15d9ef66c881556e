"""FSRCNN in 16-bit integers as one native function: integers.py's arithmetic, in the blocks and rings of forward.py.

Two numbers in a word of 32 bits take the place of a float: two channels of a pixel, in the first layer two neighbouring
columns. So a vector multiplies twice as much, rows take half of the memory, and blocks are twice as wide.
"""

import functools
from collections.abc import Sequence

from llvmlite import ir

from fsrcnn.geometry import FEATURES_KERNEL, MAP_KERNEL, PHASES_KERNEL
from fsrcnn.integers import IntegerNetwork
from fsrcnn.native.forward import (
    FEATURES_REACH,
    POINTERS,
    Arguments,
    BlockFunction,
    BlockProgram,
    Convolution,
    MemoryPlan,
    emit_sums,
    square,
)
from fsrcnn.native.llvm import INT, Rows, interleave, new_function
from fsrcnn.native.packing import Taps, even, pack_integers
from fsrcnn.native.pairs import HALF_BYTES, PairBuilder, of_halves, of_words
from fsrcnn.native.planes import StepsPlane
from fsrcnn.native.target import Target


class PairsConvolution(Convolution):
    """A convolution followed by PReLU. channels: pairs of them. outputs: even."""

    @property
    def end(self) -> int:
        return self.place + self.outputs * (self.channels * len(self.taps) + 4)

    @property
    def stored(self) -> int:
        return self.outputs // 2

    def blocking(self, target: Target) -> tuple[int, int]:
        return target.blocking(self.outputs, 2)


class IntegerPlan(MemoryPlan):
    """As forward.py's, with a word in place of a float; a line of the LR picture in halves follows the rings."""

    @property
    def layers(self) -> Sequence[Convolution]:
        _, d, s, m = self.sizes
        in_columns = [(row, column) for row in range(FEATURES_KERNEL) for column in range(0, FEATURES_KERNEL, 2)]
        layers = [PairsConvolution(1, even(d), in_columns, 1)]
        for channels, outputs, size in [(d, s, 1), *[(s, s, MAP_KERNEL)] * m, (s, d, 1)]:
            layers.append(PairsConvolution(even(channels) // 2, even(outputs), square(size), layers[-1].end))
        return layers

    @property
    def rings(self) -> list[tuple[int, int]]:
        _, d, s, m = self.sizes
        mapped, expanded = even(s) // 2, even(d) // 2
        return [(FEATURES_KERNEL, 1), *[(MAP_KERNEL, mapped)] * (m + 1), (PHASES_KERNEL, expanded)]

    @property
    def rows(self) -> int:
        return super().rows + 1


class IntegerProgram(BlockProgram):
    """Emits what the function does with a block of columns."""

    b: PairBuilder

    def __init__(self, b: PairBuilder, plan: IntegerPlan, given: Arguments) -> None:
        super().__init__(b, plan, given)
        self.small, self.large = StepsPlane(*self.lr), StepsPlane(*self.sr)

    def emit_mask(self, x: ir.Value) -> None:
        b, column = self.b, self.b.add(self.start, x)
        there = b.and_(b.icmp_signed(">=", column, b.index(0)), b.icmp_signed("<", column, self.given.width))
        b.store(b.sext(there, INT), b.at(self.memory.mask, x))

    def emit_read(self, step: ir.Value) -> None:
        b, row = self.b, self.row_of(step, -FEATURES_REACH)
        before = b.sub(self.begin, b.index(1))  # the word of the pair that begins there
        to = b.at(self.picture.row(b, self.in_ring(step, -FEATURES_REACH)).addresses[0], before)
        words = b.add(self.length, b.index(1))
        line = b.half_at(self.memory.row(self.plan.rows - 1), self.begin)
        with b.if_else(self.in_picture(row)) as (there, beyond):
            with there:
                self.small.emit_steps(b, row, b.add(self.start, self.begin), self.length, line)
                b.along(words, functools.partial(self._emit_words, b.half_at(line, -1), to))
            with beyond:
                b.clear(to, words)

    def _emit_words(self, halves: ir.Value, to: ir.Value, x: ir.Value, lanes: int) -> None:
        """The next words, each of which is a pixel and the one to its right."""
        b, words = self.b, of_words(lanes)
        first, second = (
            b.zext(b.load(b.half_at(halves, x, place), typ=of_halves(lanes), align=HALF_BYTES), words)
            for place in range(2)
        )
        b.store(b.or_(first, b.shl(second, b.same(16, words))), b.at(to, x), align=4)

    def emit_pixels(self, layer: Convolution, source: Rows, mask: ir.Value, to: Rows, vectors: int) -> None:
        b, taps = self.b, len(layer.taps)
        block, _ = layer.blocking(b.target)
        taps_of_block = [(row, column, list(range(block))) for row, column in layer.taps]
        shifts_at = block * (layer.channels * taps + 1)
        lifts_at, factors_at, words = (shifts_at + number * block for number in (1, 2, 3))
        source = source.moved(b, -(layer.size // 2))

        def emit_block(number: ir.Value) -> None:
            of_block = b.at(self.given.weights, layer.place, b.mul(number, b.index(words)))
            sums = emit_sums(b, source, layer.channels, taps_of_block, block, vectors, of_block)
            for pair in range(block // 2):
                shifts, lifts = (
                    [b.broadcast(b.at(of_block, place + 2 * pair + i)) for i in range(2)]
                    for place in (shifts_at, lifts_at)
                )
                factors = [
                    b.bitcast(
                        b.broadcast(b.at(of_block, factors_at + sign * block // 2 + pair)), of_halves(2 * b.lanes)
                    )
                    for sign in range(2)
                ]
                row = b.at(to.addresses[0], b.mul(b.add(b.mul(number, b.index(block // 2)), b.index(pair)), to.pitch))
                for v in range(vectors):
                    shifted = [b.ashr(sums[2 * pair + i][v], shifts[i]) for i in range(2)]
                    lifted = [b.greater(each, b.shl(each, lift)) for each, lift in zip(shifted, lifts, strict=True)]
                    self._emit_activation(b.paired(*lifted), factors, b.at(mask, v * b.lanes), b.at(row, v * b.lanes))

        b.loop(b.index(0), b.index(layer.outputs // block), 1, emit_block)

    def _emit_activation(self, t: ir.Value, factors: list[ir.Value], mask: ir.Value, to: ir.Value) -> None:
        """Stores t times the factor for its sign, which is PReLU; zero where the mask is."""
        b = self.b
        factor = b.select(b.icmp_signed(">=", t, b.same(0, t.type)), *factors)
        words = b.bitcast(b.scaled(t, factor), of_words(b.lanes))
        b.store(b.and_(words, b.vector(mask)), to, align=4)

    def emit_phases(
        self, taps: Taps, source: Rows, weights: ir.Value, to: list[ir.Value], x: ir.Value, vectors: int
    ) -> None:
        b, scale = self.b, self.plan.sizes.upscale_factor
        shift = b.broadcast(self.given.weights)
        sums = emit_sums(
            b,
            source.moved(b, x, -(PHASES_KERNEL // 2)),
            self.expanded.channels,
            taps,
            scale * len(to),
            vectors,
            weights,
        )
        for i, row in enumerate(to):
            for v in range(vectors):
                phases = [b.ashr(phase[v], shift) for phase in sums[i * scale : (i + 1) * scale]]
                place = b.half_at(row, b.mul(x, b.index(scale)), v * b.lanes * scale)
                b.store(self._interleaved(phases), place, align=HALF_BYTES)

    def _interleaved(self, phases: list[ir.Value]) -> ir.Value:
        """The pixels of a row as halves, saturated."""
        b = self.b
        if len(phases) % 2:
            return interleave(b, [b.narrowed(phase) for phase in phases])
        words = of_words(b.lanes)
        pairs = [b.bitcast(b.paired(*phases[i : i + 2]), words) for i in range(0, len(phases), 2)]
        return interleave(b, pairs) if len(pairs) > 1 else pairs[0]

    def emit_row_write(self, source: ir.Value, pixels: ir.Value, row: ir.Value, left: ir.Value) -> None:
        self.large.emit_sums(self.b, source, pixels, row, left)


def emit_integer_network(module: ir.Module, name: str, plan: IntegerPlan) -> ir.Function:
    """The function that enlarges rows `first` to `last` of a block of columns; `Arguments` says how it is called."""
    b, arguments = new_function(module, name, POINTERS, len(Arguments._fields) - POINTERS, plan.target)
    b = PairBuilder(b.block, plan.target)
    IntegerProgram(b, plan, Arguments(*arguments)).emit()
    b.ret_void()
    return b.function


class IntegerForward(BlockFunction):
    """The network in integers: of luma in int16, as `integers.enlarge` takes and gives it."""

    def __init__(self, network: IntegerNetwork, target: Target) -> None:
        super().__init__(emit_integer_network, IntegerPlan(network.sizes, target), pack_integers(network, target))
