"""What the network in 16-bit integers is written in: vectors of pairs, two int16 in each word of 32 bits.

A multiplication by pairs multiplies two numbers and adds both products to a sum of 32 bits: one instruction where the
processor has VNNI (vpdpwssd), two on other x86 (pmaddwd, paddd) and in WebAssembly (i32x4.dot_i16x8_s, i32x4.add).
"""

from collections.abc import Callable

from llvmlite import ir

from fsrcnn.integers import FACTOR_BITS
from fsrcnn.native.llvm import INT, Builder
from fsrcnn.native.target import Target

HALF = ir.IntType(16)
HALF_BYTES, WORD_ALIGNMENT = 2, 4
LARGEST, LEAST = 2**15 - 1, -(2**15)

# LLVM's names of instructions, by the words that they take.
X86_DOT = {lanes: f"llvm.x86.avx512.vpdpwssd.{32 * lanes}" for lanes in (4, 8, 16)}
X86_MULTIPLY = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}
X86_NARROW = {4: "llvm.x86.sse2.packssdw.128", 8: "llvm.x86.avx2.packssdw", 16: "llvm.x86.avx512.packssdw.512"}
X86_SCALE = {4: "llvm.x86.ssse3.pmul.hr.sw.128", 8: "llvm.x86.avx2.pmul.hr.sw", 16: "llvm.x86.avx512.pmul.hr.sw.512"}
WITHOUT_SSSE3 = "x86-64"  # the processor that LLVM knows by this name


class Instructions:
    """LLVM's names of a target's instructions, by the words of a vector; where there is none, others take its place."""

    def __init__(self, target: Target) -> None:
        self.dot, self.multiply, self.narrow, self.scale = {}, {}, {}, {}
        if target.architecture == "x86_64":
            self.dot = X86_DOT if target.dot_product else {}
            self.multiply, self.narrow = X86_MULTIPLY, X86_NARROW
            self.scale = X86_SCALE if target.cpu != WITHOUT_SSSE3 else {}
        elif target.architecture == "wasm32":
            self.multiply, self.narrow = {4: "llvm.wasm.dot"}, {4: "llvm.wasm.narrow.signed.v8i16.v4i32"}
            self.scale = {4: "llvm.wasm.q15mulr.sat.signed"}
        elif target.architecture == "aarch64":
            self.scale = {4: "llvm.aarch64.neon.sqrdmulh.v8i16"}


def of_halves(count: int) -> ir.VectorType:
    return ir.VectorType(HALF, count)


def of_words(count: int) -> ir.VectorType:
    return ir.VectorType(INT, count)


class PairBuilder(Builder):
    """The builder for words and halves: a vector is one of words, each a sum or a pair."""

    def __init__(self, block: ir.Block, target: Target) -> None:
        super().__init__(block, target)
        self.instructions = Instructions(target)

    def half_at(self, pointer: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """The address as many halves further on as the offsets sum to."""
        for offset in offsets:
            offset = self.index(offset) if isinstance(offset, int) else offset
            pointer = self.gep(pointer, [offset], source_etype=HALF)
        return pointer

    def same(self, value: int, kind: ir.VectorType) -> ir.Constant:
        """A vector with this number in every lane."""
        return ir.Constant(kind, [value] * kind.count)

    def vector(self, pointer: ir.Value) -> ir.Value:
        return self.load(pointer, typ=of_words(self.lanes), align=WORD_ALIGNMENT)

    def broadcast(self, pointer: ir.Value) -> ir.Value:
        """A vector with the word at this address in every lane."""
        return self.splat(self.load(pointer, typ=INT, align=WORD_ALIGNMENT), self.lanes)

    def _called(self, name: str, result: ir.VectorType, *values: ir.Value) -> ir.Value:
        function = self.known_function(name, ir.FunctionType(result, [value.type for value in values]))
        return self.call(function, values)

    def multiply_add(self, x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
        """Both products of each pair, added to a sum."""
        words, halves = of_words(self.lanes), of_halves(2 * self.lanes)
        if name := self.instructions.dot.get(self.lanes):
            return self._called(name, words, total, x, y)
        if name := self.instructions.multiply.get(self.lanes):
            return self.add(total, self._called(name, words, self.bitcast(x, halves), self.bitcast(y, halves)))
        sixteen = self.same(16, words)
        for first, second in ((self.shl(x, sixteen), self.shl(y, sixteen)), (x, y)):
            product = self.mul(self.ashr(first, sixteen), self.ashr(second, sixteen))
            total = self.add(total, product)
        return total

    def greater(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.select(self.icmp_signed(">", x, y), x, y)

    def clipped(self, values: ir.Value, least: int, greatest: int) -> ir.Value:
        """Each number of a vector within these bounds."""
        for bound, sign in ((greatest, "<"), (least, ">")):
            limit = self.same(bound, values.type)
            values = self.select(self.icmp_signed(sign, values, limit), values, limit)
        return values

    def paired(self, first: ir.Value, second: ir.Value) -> ir.Value:
        """The pairs, as halves, of two vectors of words, each of which is saturated."""
        count, lanes = first.type.count, range(first.type.count)
        if name := self.instructions.narrow.get(count):  # in groups: four of the first, four of the second, and so on
            narrow = self._called(name, of_halves(2 * count), first, second)
            order = [2 * lane - lane % 4 + of_second for lane in lanes for of_second in (0, 4)]
            return self.shuffle(narrow, narrow, order)
        words = first.type
        low, high = (self.clipped(values, LEAST, LARGEST) for values in (first, second))
        low = self.and_(low, self.same(0xFFFF, words))
        return self.bitcast(self.or_(low, self.shl(high, self.same(16, words))), of_halves(2 * count))

    def narrowed(self, words: ir.Value) -> ir.Value:
        """The words as halves, saturated."""
        return self.trunc(self.clipped(words, LEAST, LARGEST), of_halves(words.type.count))

    def scaled(self, x: ir.Value, factor: ir.Value) -> ir.Value:
        """Halves times a factor in 1/2^15, rounded: (x * factor + 2^14) >> 15, which must fit."""
        count = x.type.count
        if name := self.instructions.scale.get(count // 2) if count % 2 == 0 else None:
            return self._called(name, x.type, x, factor)
        words = of_words(count)
        product = self.mul(self.sext(x, words), self.sext(factor, words))
        rounded = self.ashr(self.add(product, self.same(2 ** (FACTOR_BITS - 1), words)), self.same(FACTOR_BITS, words))
        return self.trunc(rounded, x.type)

    def saturated_sum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._called(f"llvm.sadd.sat.v{x.type.count}i16", x.type, x, y)

    def along_pairs(self, length: ir.Value, body: Callable[[ir.Value, int], None]) -> None:
        """body(x, lanes) along a row of halves: whole vectors, then single ones."""
        vector = 2 * self.lanes
        whole = self.sub(length, self.urem(length, self.index(vector)))
        self.loop(self.index(0), whole, vector, lambda x: body(x, vector))
        self.loop(whole, length, 1, lambda x: body(x, 1))
