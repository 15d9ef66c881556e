"""The network as an object file that needs no Python: machine code, the weights inside, and an interface for C."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from llvmlite import binding, ir

from fsrcnn.native.forward import MemoryPlan, emit_network
from fsrcnn.native.llvm import FLOAT, FLOAT_BYTES, INT, POINTER, Builder
from fsrcnn.native.packing import Array, pack
from fsrcnn.native.target import Target
from fsrcnn.weights import Weights

ALIGNMENT = 64  # of the weights in the object file

# What each level needs, see the psABI's table of micro-architecture levels: of the processor, CPUID's leaf, register
# (0 to 3: ax, bx, cx, dx) and bits; of the operating system, the registers that it saves: XCR0's bits.
LEVELS: dict[str, tuple[list[tuple[int, int, tuple[int, ...]]], int]] = {
    "x86-64-v3": ([(1, 2, (0, 9, 12, 13, 19, 20, 22, 23, 27, 28, 29)), (7, 1, (3, 5, 8)), (0x80000001, 2, (5,))], 0x06),
    "x86-64-v4": ([(7, 1, (16, 17, 28, 30, 31))], 0xE6),
}


class Functions(NamedTuple):
    """The functions of one target, with the public ones' arguments, and of `upscale` whether the pixels are uint8."""

    work_size: ir.Function
    upscale: ir.Function


def object_file(name: str, weights: Weights, targets: Sequence[Target]) -> bytes:
    """The functions of exports/c.py's header: `{name}_float`, `_uint8`, `_work_size` and `_upscale_factor`.

    targets: one, or several levels of x86-64 from the lowest to the highest; when the library is loaded, it picks the
    best that the processor has. The code allocates nothing, calls at most memset (on macOS bzero), and writes to
    nothing but what it is given. Raises ValueError for several levels where this machine is not x86-64.
    """
    if len(targets) > 1 and binding.get_default_triple().partition("-")[0] != "x86_64":
        raise ValueError("several levels of x86-64 in one library can only be made on x86-64")  # LLVM's assembler
    module = ir.Module()
    lowest, scale, parameters = targets[0], weights.upscale_factor, list(weights.parameters.values())
    functions: list[Functions] = []
    constants: dict[int, ir.GlobalVariable] = {}
    for number, target in enumerate(targets):
        # Targets of as many registers read the weights in the same order.
        packed = constants.get(target.registers) or _constant(module, pack(parameters, scale, target))
        constants[target.registers] = packed
        functions.append(_emit_for_target(module, f"_{number}", MemoryPlan(weights.sizes, target), packed))
    chosen = _emit_choice(module, targets) if len(targets) > 1 else None
    for suffix, eight_bits in (("float", 0), ("uint8", 1)):
        _emit_public(module, f"{name}_{suffix}", [each.upscale for each in functions], chosen, lowest, [eight_bits])
    _emit_public(module, f"{name}_work_size", [each.work_size for each in functions], chosen, lowest, [])
    factor = ir.Function(module, ir.FunctionType(INT, []), f"{name}_upscale_factor")
    Builder(factor.append_basic_block(), lowest).ret(INT(scale))
    # Code that can lie anywhere, so that it can be part of a shared library too.
    return lowest.machine(reloc="pic", codemodel="small").emit_object(_parsed(module))


def _parsed(module: ir.Module) -> binding.ModuleRef:
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    return parsed


def _constant(module: ir.Module, values: Array) -> ir.GlobalVariable:
    content = ir.Constant(ir.ArrayType(FLOAT, len(values)), values.tolist())
    variable = ir.GlobalVariable(module, content.type, module.get_unique_name("weights"))
    variable.initializer, variable.global_constant, variable.linkage = content, True, "internal"
    variable.align = ALIGNMENT
    return variable


def _internal(function: ir.Function, target: Target) -> ir.Function:
    """The function, made internal and compiled for this target, whatever others there are in the module."""
    function.linkage = "internal"
    for attribute in (f'"target-cpu"="{target.cpu}"', f'"target-features"="{target.tuned_features}"'):
        set.add(function.attributes, attribute)  # llvmlite's own method knows no such attributes
    return function


def _emit_for_target(module: ir.Module, suffix: str, plan: MemoryPlan, weights: ir.GlobalVariable) -> Functions:
    """The functions of this target, which the public ones call."""
    target, index = plan.target, plan.target.index
    run = _internal(emit_network(module, f"run{suffix}", plan), target)

    def emit_columns(b: Builder, width: ir.Value) -> ir.Value:
        """As `MemoryPlan.columns`."""

        def ceil(value: ir.Value, divisor: ir.Value) -> ir.Value:
            return b.udiv(b.add(value, b.sub(divisor, b.index(1))), divisor)

        blocks = ceil(width, b.index(plan.most_columns))
        return b.mul(ceil(ceil(width, blocks), b.index(target.lanes)), b.index(target.lanes))

    kind = ir.FunctionType(index, [INT])
    work_size = _internal(ir.Function(module, kind, f"work_size{suffix}"), target)
    b = Builder(work_size.append_basic_block(), target)
    columns = emit_columns(b, b.greatest(b.sext(work_size.args[0], index), b.index(1)))
    floats = b.add(b.mul(columns, b.index(plan.per_column)), b.index(plan.floats(0)))
    b.ret(b.mul(floats, b.index(FLOAT_BYTES)))

    kind = ir.FunctionType(ir.VoidType(), [*_upscale_type(index).args, INT])
    upscale = _internal(ir.Function(module, kind, f"upscale{suffix}"), target)
    lr, lr_stride, sr, sr_stride, *numbers, work, eight_bits = upscale.args
    b = Builder(upscale.append_basic_block(), target)
    width, height, first, last, full_range = (b.sext(number, index) for number in numbers)
    first, last = b.greatest(first, b.index(0)), b.least(last, height)
    with b.if_then(b.and_(b.icmp_signed(">", width, b.index(0)), b.icmp_signed("<", first, last))):
        columns = emit_columns(b, width)
        place = [b.sext(eight_bits, index), full_range]

        def emit_block(block: ir.Value) -> None:
            left = b.mul(block, columns)
            planes = lr, sr, b.bitcast(weights, POINTER), work, lr_stride, sr_stride
            b.call(run, [*planes, width, height, first, last, left, columns, *place])

        b.loop(b.index(0), b.udiv(b.add(width, b.sub(columns, b.index(1))), columns), 1, emit_block)
    b.ret_void()
    return Functions(work_size, upscale)


def _upscale_type(index: ir.IntType) -> ir.FunctionType:
    """The type of the public functions that enlarge: lr, its stride, sr, its stride; width, height, first row, last
    row, full range; work memory.
    """
    return ir.FunctionType(ir.VoidType(), [POINTER, index, POINTER, index, *[INT] * 5, POINTER])


def _emit_public(
    module: ir.Module,
    name: str,
    functions: list[ir.Function],
    chosen: ir.GlobalVariable | None,
    target: Target,
    further: list[int],
) -> None:
    """A function that calls the chosen one of several with its own arguments and some more."""
    kind = functions[0].function_type
    public = ir.Function(module, ir.FunctionType(kind.return_type, kind.args[: len(kind.args) - len(further)]), name)
    b = Builder(public.append_basic_block(), target)

    def emit_call(function: ir.Function) -> None:
        result = b.call(function, [*public.args, *(INT(argument) for argument in further)])
        b.ret_void() if isinstance(kind.return_type, ir.VoidType) else b.ret(result)

    for number, function in enumerate(functions[1:], 1):
        with b.if_then(b.icmp_signed("==", b.load(chosen, typ=INT), INT(number))):
            emit_call(function)
    emit_call(functions[0])


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

    def emit_levels(levels: list[str], then: Callable[[], None]) -> None:
        """`then` where the machine has all of these levels."""
        (leaves, registers), further = LEVELS[levels[0]], levels[1:]
        there = ir.Constant(ir.IntType(1), True)
        for leaf, register, bits in leaves:
            said = b.extract_value(b.call(cpuid, [INT(leaf), INT(0)]), register)
            there = b.and_(there, emit_all_set(said, sum(1 << bit for bit in bits)))
        # XCR0 may only be read once AVX is known to be there.
        with b.if_then(there), b.if_then(emit_all_set(b.extract_value(b.call(xgetbv, [INT(0)]), 0), registers)):
            emit_levels(further, then) if further else then()

    levels = list(LEVELS)
    for number, target in enumerate(targets[1:], 1):
        up_to = levels[: levels.index(target.cpu) + 1]
        emit_levels(up_to, partial(b.store, INT(number), chosen))
    b.ret_void()
    entry = ir.LiteralStructType([INT, POINTER, POINTER])
    constructors = ir.GlobalVariable(module, ir.ArrayType(entry, 1), "llvm.global_ctors")
    constructors.linkage = "appending"
    constructors.initializer = ir.Constant(constructors.value_type, [[65535, function, ir.Constant(POINTER, None)]])
    return chosen
