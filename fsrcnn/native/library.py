"""The network as an object file that needs no Python: machine code, the weights inside, and an interface for C."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from llvmlite import binding, ir

from fsrcnn.integers import integer_network
from fsrcnn.native.forward import MemoryPlan, emit_network
from fsrcnn.native.integer_forward import IntegerPlan, emit_integer_network
from fsrcnn.native.llvm import FLOAT, FLOAT_BYTES, INT, POINTER, Builder
from fsrcnn.native.packing import Array, pack, pack_integers
from fsrcnn.native.target import X86_LEVELS, Target
from fsrcnn.weights import Weights

ALIGNMENT = 64  # of the weights in the object file


class Level(NamedTuple):
    """What a level of x86-64 needs besides the levels that it contains: see the psABI's table of micro-architecture
    levels, and Intel's manual for VNNI.
    """

    contains: str | None
    bits: list[tuple[int, int, int, tuple[int, ...]]]  # CPUID's leaf and subleaf, register (0 to 3: ax to dx), bits
    registers: int  # that the operating system saves: XCR0's bits


AVX2_BITS = [(1, 0, 2, (0, 9, 12, 13, 19, 20, 22, 23, 27, 28, 29)), (7, 0, 1, (3, 5, 8)), (0x80000001, 0, 2, (5,))]
LEVELS = {
    "x86-64-v3": Level(None, AVX2_BITS, 0x06),
    "x86-64-v3-vnni": Level("x86-64-v3", [(7, 1, 0, (4,))], 0x06),
    "x86-64-v4": Level("x86-64-v3", [(7, 0, 1, (16, 17, 28, 30, 31))], 0xE6),
    "x86-64-v4-vnni": Level("x86-64-v4", [(7, 0, 2, (11,))], 0xE6),
}


class Functions(NamedTuple):
    """The functions of one target, with the public ones' arguments; those that enlarge have one more, whether the
    pixels are uint8.
    """

    work_size: ir.Function
    in_float32: ir.Function  # of uint8, else float32
    in_integers: ir.Function | None  # of uint8, else int16; None: this target takes float32 for uint8


def object_file(name: str, weights: Weights, targets: Sequence[Target]) -> bytes:
    """The functions of exports/c.py's header: `{name}_float`, `_uint8`, `_work_size` and `_upscale_factor`.

    8 bits are enlarged in integers on the targets that prefer them, if the weights have ranges for these. WebAssembly
    then has further functions: `_int16`, of luma as `integers.enlarge` takes and gives it; `_words` and `_words_size`,
    the address and bytes of `pack_integers`' words, which may be replaced by those of other weights.

    targets: one, or several levels of x86-64 from the lowest to the highest; when the library is loaded, it picks the
    best that the processor has. The code allocates nothing, calls at most memset (on macOS bzero), and writes to
    nothing but what it is given. Raises ValueError for several levels where this machine is not x86-64.
    """
    if len(targets) > 1 and binding.get_default_triple().partition("-")[0] != "x86_64":
        raise ValueError("several levels of x86-64 in one library can only be made on x86-64")  # LLVM's assembler
    library = _Library(name, weights, targets)
    # Code that can lie anywhere, so that it can be part of a shared library too.
    return targets[0].machine(reloc="pic", codemodel="small").emit_object(_parsed(library.emitted()))


def _parsed(module: ir.Module) -> binding.ModuleRef:
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    return parsed


class _Library:
    """Emits the module of a network: the functions of each target, and the public ones, which call them."""

    def __init__(self, name: str, weights: Weights, targets: Sequence[Target]) -> None:
        self.name, self.weights, self.targets = name, weights, targets
        self.integers = integer_network(weights)
        self.module = ir.Module()
        self.constants: dict[tuple[str, int], ir.GlobalVariable] = {}
        self.chosen: ir.GlobalVariable | None = None

    def emitted(self) -> ir.Module:
        functions = [self.emit_for_target(f"_{number}", target) for number, target in enumerate(self.targets)]
        if len(self.targets) > 1:
            self.chosen = _emit_choice(self.module, self.targets)
        self.emit_public("float", [each.in_float32 for each in functions], [0])
        self.emit_public("uint8", [each.in_integers or each.in_float32 for each in functions], [1])
        self.emit_public("work_size", [each.work_size for each in functions])
        self.emit_number("upscale_factor", INT(self.weights.upscale_factor))
        first = functions[0].in_integers
        if first and self.targets[0].architecture == "wasm32":
            words = self.words_for(self.targets[0])
            self.emit_public("int16", [first], [0])
            self.emit_number("words", words.bitcast(POINTER))
            self.emit_number("words_size", INT(FLOAT_BYTES * words.value_type.count))
        return self.module

    # Targets of as many registers read the weights in the same order.

    def floats_for(self, target: Target) -> ir.GlobalVariable:
        values = pack(list(self.weights.parameters.values()), self.weights.upscale_factor, target)
        return self.constant("floats", target.registers, FLOAT, values)

    def words_for(self, target: Target) -> ir.GlobalVariable:
        assert self.integers
        target = target.for_integers
        return self.constant("words", target.registers, INT, pack_integers(self.integers, target))

    def constant(self, kind: str, registers: int, number: ir.Type, values: Array) -> ir.GlobalVariable:
        if (kind, registers) not in self.constants:
            content = ir.Constant(ir.ArrayType(number, len(values)), values.tolist())
            variable = ir.GlobalVariable(self.module, content.type, f"{kind}_{registers}")
            variable.initializer, variable.global_constant, variable.linkage = content, True, "internal"
            variable.align = ALIGNMENT
            self.constants[kind, registers] = variable
        return self.constants[kind, registers]

    def emit_for_target(self, suffix: str, target: Target) -> Functions:
        """The functions of this target, which the public ones call."""
        plan, in_integers = MemoryPlan(self.weights.sizes, target), None
        plans, run = [plan], _internal(emit_network(self.module, f"run{suffix}", plan), target)
        in_float32 = _emit_upscale(self.module, f"upscale{suffix}", plan, run, self.floats_for(target))
        if self.integers and target.prefers_integers:
            plan = IntegerPlan(self.weights.sizes, target.for_integers)
            run = _internal(emit_integer_network(self.module, f"run_integers{suffix}", plan), target)
            in_integers = _emit_upscale(self.module, f"upscale_integers{suffix}", plan, run, self.words_for(target))
            plans.append(plan)
        return Functions(_emit_work_size(self.module, f"work_size{suffix}", plans), in_float32, in_integers)

    def emit_public(self, suffix: str, functions: list[ir.Function], further: Sequence[int] = ()) -> None:
        """A function that calls the chosen one of several with its own arguments and some more."""
        kind = functions[0].function_type
        own = ir.FunctionType(kind.return_type, kind.args[: len(kind.args) - len(further)])
        public = ir.Function(self.module, own, f"{self.name}_{suffix}")
        b = Builder(public.append_basic_block(), self.targets[0])

        def emit_call(function: ir.Function) -> None:
            result = b.call(function, [*public.args, *(INT(argument) for argument in further)])
            b.ret_void() if isinstance(kind.return_type, ir.VoidType) else b.ret(result)

        for number, function in enumerate(functions[1:], 1):
            if function is not functions[0]:
                with b.if_then(b.icmp_signed("==", b.load(self.chosen, typ=INT), INT(number))):
                    emit_call(function)
        emit_call(functions[0])

    def emit_number(self, suffix: str, value: ir.Constant) -> None:
        """A function that returns this."""
        function = ir.Function(self.module, ir.FunctionType(value.type, []), f"{self.name}_{suffix}")
        Builder(function.append_basic_block(), self.targets[0]).ret(value)


def _internal(function: ir.Function, target: Target) -> ir.Function:
    """The function, made internal and compiled for this target, whatever others there are in the module."""
    function.linkage = "internal"
    for attribute in (f'"target-cpu"="{target.cpu}"', f'"target-features"="{target.tuned_features}"'):
        set.add(function.attributes, attribute)  # llvmlite's own method knows no such attributes
    return function


def _emit_columns(b: Builder, plan: MemoryPlan, width: ir.Value) -> ir.Value:
    """As `MemoryPlan.columns`."""

    def ceil(value: ir.Value, divisor: ir.Value) -> ir.Value:
        return b.udiv(b.add(value, b.sub(divisor, b.index(1))), divisor)

    blocks, lanes = ceil(width, b.index(plan.most_columns)), b.index(plan.target.lanes)
    return b.mul(ceil(ceil(width, blocks), lanes), lanes)


def _emit_work_size(module: ir.Module, name: str, plans: Sequence[MemoryPlan]) -> ir.Function:
    """The bytes of work memory that suffice for all of these plans of one target, by the picture's width."""
    target = plans[0].target
    work_size = _internal(ir.Function(module, ir.FunctionType(target.index, [INT]), name), target)
    b = Builder(work_size.append_basic_block(), target)
    width, size = b.greatest(b.sext(work_size.args[0], target.index), b.index(1)), b.index(0)
    for plan in plans:
        floats = b.add(b.mul(_emit_columns(b, plan, width), b.index(plan.per_column)), b.index(plan.floats(0)))
        size = b.greatest(size, b.mul(floats, b.index(FLOAT_BYTES)))
    b.ret(size)
    return work_size


def _emit_upscale(
    module: ir.Module, name: str, plan: MemoryPlan, run: ir.Function, weights: ir.GlobalVariable
) -> ir.Function:
    """The function that enlarges rows of a picture, block by block, as `Functions` says."""
    target, index = plan.target, plan.target.index
    upscale = _internal(ir.Function(module, ir.FunctionType(ir.VoidType(), _upscale_types(index)), name), target)
    lr, lr_stride, sr, sr_stride, *numbers, work, eight_bits = upscale.args
    b = Builder(upscale.append_basic_block(), target)
    width, height, first, last, full_range = (b.sext(number, index) for number in numbers)
    first, last = b.greatest(first, b.index(0)), b.least(last, height)
    with b.if_then(b.and_(b.icmp_signed(">", width, b.index(0)), b.icmp_signed("<", first, last))):
        columns = _emit_columns(b, plan, width)
        place = [b.sext(eight_bits, index), full_range]

        def emit_block(block: ir.Value) -> None:
            left = b.mul(block, columns)
            planes = lr, sr, b.bitcast(weights, POINTER), work, lr_stride, sr_stride
            b.call(run, [*planes, width, height, first, last, left, columns, *place])

        b.loop(b.index(0), b.udiv(b.add(width, b.sub(columns, b.index(1))), columns), 1, emit_block)
    b.ret_void()
    return upscale


def _upscale_types(index: ir.IntType) -> list[ir.Type]:
    """Of the arguments of functions that enlarge: lr, its stride, sr, its stride; width, height, first row, last row,
    full range; work memory; whether pixels are uint8, which the public functions lack.
    """
    return [POINTER, index, POINTER, index, *[INT] * 5, POINTER, INT]


def _emit_choice(module: ir.Module, targets: Sequence[Target]) -> ir.GlobalVariable:
    """The number of the best target for the processor, found by a function that runs when the library is loaded."""
    chosen = ir.GlobalVariable(module, INT, "chosen")
    chosen.initializer, chosen.linkage = INT(0), "internal"
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "choose")
    function.linkage = "internal"
    b = Builder(function.append_basic_block(), targets[0])
    four = ir.LiteralStructType([INT] * 4)
    cpuid = ir.InlineAsm(ir.FunctionType(four, [INT, INT]), "cpuid", "={ax},={bx},={cx},={dx},{ax},{cx}", True)
    two = ir.LiteralStructType([INT] * 2)
    xgetbv = ir.InlineAsm(ir.FunctionType(two, [INT]), "xgetbv", "={ax},={dx},{cx}", True)

    def emit_all_set(value: ir.Value, bits: int) -> ir.Value:
        return b.icmp_signed("==", b.and_(value, INT(bits)), INT(bits))

    def emit_levels(names: list[str], then: Callable[[], None]) -> None:
        """`then` where the machine has all of these levels."""
        (_, leaves, registers), further = LEVELS[names[0]], names[1:]
        there = ir.Constant(ir.IntType(1), True)
        for leaf, subleaf, register, bits in leaves:
            said = b.extract_value(b.call(cpuid, [INT(leaf), INT(subleaf)]), register)
            there = b.and_(there, emit_all_set(said, sum(1 << bit for bit in bits)))
        # XCR0 may only be read once AVX is known to be there.
        with b.if_then(there), b.if_then(emit_all_set(b.extract_value(b.call(xgetbv, [INT(0)]), 0), registers)):
            emit_levels(further, then) if further else then()

    for number, target in enumerate(targets[1:], 1):
        emit_levels(_levels_of(target), partial(b.store, INT(number), chosen))
    b.ret_void()
    entry = ir.LiteralStructType([INT, POINTER, POINTER])
    constructors = ir.GlobalVariable(module, ir.ArrayType(entry, 1), "llvm.global_ctors")
    constructors.linkage = "appending"
    constructors.initializer = ir.Constant(constructors.value_type, [[65535, function, ir.Constant(POINTER, None)]])
    return chosen


def _levels_of(target: Target) -> list[str]:
    """The level of x86-64 that a target is, after those that it contains."""
    settings = target.cpu, target.features
    level: str | None = next(name for name in LEVELS if X86_LEVELS[name][:2] == settings)
    levels: list[str] = []
    while level:
        levels.insert(0, level)
        level = LEVELS[level].contains
    return levels
