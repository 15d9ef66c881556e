"""What the compiled functions know of the machine that they are made for."""

import functools
from typing import NamedTuple

from llvmlite import binding, ir

OLDEST_LLVM = (20,)  # llvmlite 0.45's
DOT_PRODUCT = {"+avx512vnni", "+avxvnni"}
AVX2_LANES = 8


class Target(NamedTuple):
    """A machine to compile for: how its registers and caches are cut up, and its name to LLVM."""

    triple: str
    cpu: str
    features: str  # as LLVM writes them: +avx2,+fma
    lanes: int  # floats in a vector
    registers: int  # vectors that the machine's registers hold
    fma: bool  # whether a fused multiply-add is one instruction; else a multiplication and an addition
    l2: int = 640 * 1024  # bytes of the L2 cache that one thread's rows may take
    band: int = 10  # tiles (see `tile`) beside each other whose planes stay in the L1 cache together
    address_bits: int = 64

    @property
    def architecture(self) -> str:
        return "aarch64" if self.triple.startswith("arm64") else self.triple.partition("-")[0]

    @property
    def index(self) -> ir.IntType:
        return ir.IntType(self.address_bits)

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(ir.FloatType(), self.lanes)

    @property
    def dot_product(self) -> bool:
        """Whether two products of 16-bit integers are added to a sum by one instruction, x86's VNNI."""
        return not DOT_PRODUCT.isdisjoint(self.features.split(","))

    @property
    def tuned_features(self) -> str:
        """The features, and that a dot product shall stay one instruction: LLVM would make two of it for many of
        Intel's processors, which finish a single one earlier so, but sums of many later.
        """
        return f"{self.features},+fast-dpwssd" if self.dot_product else self.features

    @property
    def prefers_integers(self) -> bool:
        """Whether the network in 16-bit integers is faster than in float32.

        Measured on one processor (Zen 4): with VNNI it is about twice as fast, with AVX2 alone 1.5 times, in
        WebAssembly 1.8 times. Intel's AVX-512 without VNNI computes as many products in two instructions on two ports
        as float32 does, and AArch64 multiplies as many floats as 16-bit integers by an instruction: float32 stays.
        """
        if self.architecture == "x86_64":
            return self.dot_product or self.lanes == AVX2_LANES
        return self.architecture == "wasm32"

    @property
    def for_integers(self) -> "Target":
        """The target that the network in integers is compiled for: in WebAssembly its products take two registers, of
        relaxed-simd too.
        """
        return self._replace(registers=WASM_REGISTERS) if self.architecture == "wasm32" else self

    @property
    def tile(self) -> tuple[int, int]:
        """How many planes times how many others have their products summed at a time, in registers."""
        return (4, 4) if self.registers == 32 else (2, 4)

    def blocking(self, outputs: int, multiple_of: int = 1) -> tuple[int, int]:
        """How many outputs and how many vectors of pixels (two or four) are summed at a time, in registers.

        The number of outputs divides `outputs` and is a multiple of `multiple_of`.
        """
        sums = self.registers - 4  # the others hold pixels and a weight
        blocks = range(multiple_of, max(sums // 2, multiple_of) + 1, multiple_of)
        block = max(block for block in blocks if outputs % block == 0)
        return block, 4 if 4 * block <= sums else 2

    def whole_vectors(self, width: int) -> int:
        """The width in floats, rounded up to whole vectors."""
        return -(-width // self.lanes) * self.lanes

    def machine(self, **options: str) -> binding.TargetMachine:
        """LLVM's code generator for it. options: of llvmlite's `create_target_machine`."""
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
        binding.initialize_native_asmparser()
        target = binding.Target.from_triple(self.triple)
        return target.create_target_machine(cpu=self.cpu, features=self.tuned_features, **options)


@functools.cache
def host() -> Target | None:
    """The machine that this runs on. None where llvmlite is too old, and where there is no fused multiply-add: PyTorch
    is faster there.
    """
    if binding.llvm_version_info < OLDEST_LLVM:
        return None
    triple, features = binding.get_default_triple(), binding.get_host_cpu_features()
    if triple.startswith(("aarch64", "arm64")):
        lanes, registers = 4, 32
    elif features.get("fma"):
        lanes, registers = (16, 32) if features.get("avx512f") else (8, 16)
    else:
        return None
    return Target(triple, binding.get_host_cpu_name(), features.flatten(), lanes, registers, fma=True)


WASM_REGISTERS = 14  # V8, the engine of Chromium and Node, has the 16 of SSE; a product takes two of them

# What a target that names only its architecture can count on: cpu, features, lanes, registers, fma.
GENERIC = {
    "x86_64": ("x86-64-v3", "", 8, 16, True),
    "aarch64": ("generic", "+neon", 4, 32, True),
    "wasm32": ("generic", "+simd128,+bulk-memory,+nontrapping-fptoint,+sign-ext", 4, WASM_REGISTERS, False),
}
X86_LEVELS = {
    "x86-64": ("x86-64", "", 4, 16, False),
    "x86-64-v3": ("x86-64-v3", "", 8, 16, True),
    "x86-64-v3-vnni": ("x86-64-v3", "+avxvnni", 8, 16, True),
    "x86-64-v4": ("x86-64-v4", "", 16, 32, True),
    "x86-64-v4-vnni": ("x86-64-v4", "+avx512vnni", 16, 32, True),
}
TRIPLES = {
    "x86_64": "x86_64-unknown-linux-gnu",
    "aarch64": "aarch64-unknown-linux-gnu",
    "wasm32": "wasm32-unknown-unknown",
}


def named_target(name: str) -> Target:
    """The target called native, aarch64, wasm32, by a level of x86-64, or by one of LLVM's triples for these.

    Names without an operating system mean this machine's where the architecture is this machine's, else Linux. Raises
    ValueError for an unknown name, and for native where `host` is None.
    """
    if name == "native":
        if (this_machine := host()) is None:
            raise ValueError("this machine has no fused multiply-add, or llvmlite is too old; name a target")
        return this_machine
    here = binding.get_default_triple()
    architecture = "x86_64" if name in X86_LEVELS else name.partition("-")[0].replace("arm64", "aarch64")
    triple = name
    if name in {*X86_LEVELS, *TRIPLES}:
        triple = here if here.partition("-")[0].replace("arm64", "aarch64") == architecture else TRIPLES[architecture]
    if architecture not in GENERIC:
        known = ", ".join(["native", *X86_LEVELS, *list(GENERIC)[1:]])
        raise ValueError(f"{name} is not known; expected {known}, or a triple such as aarch64-apple-darwin")
    settings = X86_LEVELS.get(name) or GENERIC[architecture]
    if architecture == "wasm32":  # runs in browsers mostly, on machines whose L2 cache has a megabyte or more
        return Target(triple, *settings, address_bits=32)
    return Target(triple, *settings, l2=256 * 1024)


def relaxed(target: Target) -> Target:
    """A WebAssembly target with the relaxed-simd extension, which has a multiply-add."""
    return target._replace(features=f"{target.features},+relaxed-simd", registers=16, fma=True)
