"""What the compiled functions are written in: LLVM's instructions on vectors and rows of floats."""

import ctypes
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import binding, ir

from fsrcnn.native.cache import kept
from fsrcnn.native.target import Target

FLOAT, BYTE, INT, POINTER = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.PointerType()
FLOAT_BYTES = FLOAT_ALIGNMENT = 4


class Builder(ir.IRBuilder):
    """llvmlite's builder of LLVM's instructions, for a target, with the few patterns that a network is made of."""

    def __init__(self, block: ir.Block, target: Target) -> None:
        super().__init__(block)
        self.target, self.lanes = target, target.lanes

    def index(self, value: int) -> ir.Constant:
        return ir.Constant(self.target.index, value)

    def floats(self, lanes: int) -> ir.VectorType:
        return ir.VectorType(FLOAT, lanes)

    def at(self, pointer: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """The address as many floats further on as the offsets sum to."""
        for offset in offsets:
            onward = isinstance(offset, int) and offset > 0  # then it becomes part of the instruction that loads
            offset = self.index(offset) if isinstance(offset, int) else offset
            pointer = self.gep(pointer, [offset], inbounds=onward, source_etype=FLOAT)
        return pointer

    def byte_at(self, pointer: ir.Value, offset: ir.Value) -> ir.Value:
        return self.gep(pointer, [offset], source_etype=BYTE)

    def aligned(self, pointer: ir.Value, size: int) -> ir.Value:
        """The first address from this one on that is a multiple of `size` bytes, a power of two."""
        number = self.add(self.ptrtoint(pointer, self.target.index), self.index(size - 1))
        return self.inttoptr(self.and_(number, self.index(-size)), POINTER)

    def clear(self, pointer: ir.Value, floats: ir.Value) -> None:
        """Fills so many floats with zeros."""
        name, types = f"llvm.memset.p0.i{self.target.index.width}", [POINTER, BYTE, self.target.index, ir.IntType(1)]
        memset = self.known_function(name, ir.FunctionType(ir.VoidType(), types))
        self.call(memset, [pointer, BYTE(0), self.mul(floats, self.index(FLOAT_BYTES)), ir.IntType(1)(0)])

    def known_function(self, name: str, kind: ir.FunctionType) -> ir.Function:
        """A function that is defined elsewhere, such as one of LLVM's intrinsics."""
        return self.module.globals.get(name) or ir.Function(self.module, kind, name)

    def least(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.select(self.icmp_signed("<", x, y), x, y)

    def greatest(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.select(self.icmp_signed(">", x, y), x, y)

    def vector(self, pointer: ir.Value) -> ir.Value:
        return self.load(pointer, typ=self.target.vector, align=FLOAT_ALIGNMENT)

    def broadcast(self, pointer: ir.Value) -> ir.Value:
        """A vector with the float at this address in every lane."""
        return self.splat(self.load(pointer, typ=FLOAT, align=FLOAT_ALIGNMENT), self.lanes)

    def splat(self, value: ir.Value | float, lanes: int) -> ir.Value:
        """A vector with this number in each of so many lanes."""
        if isinstance(value, float):
            return ir.Constant(self.floats(lanes), [value] * lanes)
        nothing, lane = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined), INT(0)
        return self.shuffle(self.insert_element(nothing, value, lane), nothing, [0] * lanes)

    def constant(self, value: float) -> ir.Constant:
        """A vector with this number in every lane."""
        return self.splat(value, self.lanes)

    def shuffle(self, left: ir.Value, right: ir.Value, lanes: list[int]) -> ir.Value:
        """A vector of these lanes, by their numbers: those of the left vector first, then those of the right one."""
        return self.shuffle_vector(left, right, ir.Constant(ir.VectorType(INT, len(lanes)), lanes))

    def multiply_add(self, x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
        """x * y + total, rounded once where the target can."""
        if not self.target.fma:  # there llvm.fma would be a call of the C library
            return self.fadd(self.fmul(x, y), total)
        vector = self.target.vector
        wasm = self.target.architecture == "wasm32"  # whose instruction may also round twice
        name = "llvm.wasm.relaxed.madd" if wasm else "llvm.fma"
        fma = self.known_function(f"{name}.v{self.lanes}f32", ir.FunctionType(vector, [vector] * 3))
        return self.call(fma, [x, y, total])

    def settled(self, values: list[ir.Value]) -> list[ir.Value]:
        """The same values, which LLVM must have computed by here and knows nothing of afterwards.

        Only WebAssembly needs it: its code generator would first load everything that is added to a sum, far more than
        registers hold, add up one large expression, and add each load's offset by an instruction of its own.
        """
        if self.target.architecture != "wasm32":
            return values
        types = [value.type for value in values]
        constraints = ["=r"] * len(values) + [str(number) for number in range(len(values))] + ["~{memory}"]
        kind = ir.FunctionType(ir.LiteralStructType(types), types)
        same = self.call(ir.InlineAsm(kind, "", ",".join(constraints), side_effect=True), values)
        return [self.extract_value(same, number) for number in range(len(values))]

    def loop(
        self,
        start: ir.Value,
        stop: ir.Value,
        step: int,
        body: Callable[..., Sequence[ir.Value] | None],
        carried: Sequence[ir.Value] = (),
    ) -> list[ir.Value]:
        """for i in range(start, stop, step): carried = body(i, *carried). Returns the last `carried`."""
        before = self.block
        inside, after = self.append_basic_block(), self.append_basic_block()
        self.cbranch(self.icmp_signed("<", start, stop), inside, after)
        self.position_at_end(inside)
        i, *values = (self.phi(value.type) for value in (start, *carried))
        results = [i, *(body(i, *values) or ())]
        results[0] = self.add(i, self.index(step))
        for value, first, following in zip([i, *values], [start, *carried], results, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(following, self.block)
        last = self.block
        self.cbranch(self.icmp_signed("<", results[0], stop), inside, after)
        self.position_at_end(after)
        carried_out = [self.phi(value.type) for value in carried]
        for value, first, following in zip(carried_out, carried, results[1:], strict=True):
            value.add_incoming(first, before)
            value.add_incoming(following, last)
        return carried_out

    def along(self, length: ir.Value, body: Callable[[ir.Value, int], None]) -> None:
        """body(x, lanes) along a row: whole vectors, then single pixels."""
        whole = self.sub(length, self.urem(length, self.index(self.lanes)))
        self.loop(self.index(0), whole, self.lanes, lambda x: body(x, self.lanes))
        self.loop(whole, length, 1, lambda x: body(x, 1))

    def across(self, width: ir.Value, vectors: int, body: Callable[[ir.Value, int], None]) -> None:
        """body(x, vectors) along a row of whole vectors: first so many vectors at a time, then single."""
        whole = self.sub(width, self.urem(width, self.index(vectors * self.lanes)))
        self.loop(self.index(0), whole, vectors * self.lanes, lambda x: body(x, vectors))
        self.loop(whole, width, self.lanes, lambda x: body(x, 1))


def new_function(
    module: ir.Module, name: str, pointers: int, indices: int, target: Target
) -> tuple[Builder, Sequence[ir.Value]]:
    """Begins a function that returns nothing: its builder, and its arguments, pointers and then integers as wide."""
    types = [POINTER] * pointers + [target.index] * indices
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
    return Builder(function.append_basic_block(), target), function.args


class Rows(NamedTuple):
    """Rows of an image in memory: the address of each, and the distance from one channel to the next in floats."""

    addresses: list[ir.Value]
    pitch: ir.Value

    def moved(self, b: Builder, *offsets: ir.Value | int) -> "Rows":
        return Rows([b.at(address, *offsets) for address in self.addresses], self.pitch)


def to_samples(b: Builder, values: ir.Value, bits: int) -> ir.Value:
    """Each float of a vector rounded (halves up) and clipped to 0..2^bits - 1, as integers of so many bits."""
    lanes = values.type.count
    lowest, highest = b.splat(0.0, lanes), b.splat(2.0**bits - 1, lanes)
    values = b.fadd(values, b.splat(0.5, lanes))
    values = b.select(b.fcmp_ordered(">", values, lowest), values, lowest)
    values = b.select(b.fcmp_ordered("<", values, highest), values, highest)
    return b.trunc(b.fptosi(values, ir.VectorType(INT, lanes)), ir.VectorType(ir.IntType(bits), lanes))


def interleave(b: Builder, vectors: list[ir.Value]) -> ir.Value:
    """Lane 0 of each of the vectors, then lane 1 of each, and so on: one long vector."""
    lanes, number = vectors[0].type.count, len(vectors)
    order = [v * lanes + lane for lane in range(lanes) for v in range(number)]
    while len(vectors) > 2:  # laid end to end in pairs, an odd one with itself
        pairs = itertools.zip_longest(vectors[::2], vectors[1::2], fillvalue=vectors[-1])
        vectors = [b.shuffle(*pair, list(range(2 * pair[0].type.count))) for pair in pairs]
    return b.shuffle(vectors[0], vectors[-1], order)


def sums_of_lanes(b: Builder, vectors: list[ir.Value]) -> ir.Value:
    """A vector whose lanes are the sums of as many vectors."""
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        lanes = [list(range(start, 2 * b.lanes, 2)) for start in (0, 1)]
        vectors = [b.fadd(*(b.shuffle(*pair, half) for half in lanes)) for pair in pairs]
    return vectors[0]


def machine_code(
    emit: Callable[[ir.Module], Any], made_from: object, types: list[Any], target: Target
) -> Callable[..., None]:
    """The function `run` that `emit` adds to a module, compiled to be called here and cached for later runs.

    made_from: what the code depends on besides this package and the target. types: the arguments', from ctypes.
    """

    def compiled() -> bytes:
        module = ir.Module()
        emit(module)
        objects: list[bytes] = []
        engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), target.machine())
        engine.set_object_cache(lambda _, content: objects.append(content))
        engine.finalize_object()
        return objects[0]

    content = kept((made_from, target), compiled)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target.machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(content))
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(None, *types)(engine.get_function_address("run"))
    # It owns the machine code. The types of ctypes do not say that its functions take attributes.
    function.engine = engine  # type: ignore[attr-defined]
    return function
