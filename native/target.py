"""What the compiled functions may know of the machine that they are made for."""

import functools
from typing import NamedTuple

from llvmlite import binding, ir

if binding.llvm_version_info < (20,):
    raise ImportError("llvmlite 0.45 or newer is needed")


class Target(NamedTuple):
    """A machine to compile for: how its registers and caches are cut up, and its name to LLVM."""

    triple: str
    cpu: str
    features: str  # as LLVM writes them: +avx2,+fma
    lanes: int  # floats in a vector
    registers: int  # that hold a vector
    fma: bool  # whether a fused multiply-add is one instruction; without, multiply, then add
    l2: int = 640 * 1024  # bytes of the L2 cache that one thread's rows may take
    band: int = 10  # tiles of products of planes beside each other, whose planes stay in the L1 cache

    @property
    def index(self) -> ir.IntType:
        """As wide as an address."""
        return ir.IntType(32 if self.triple.startswith("wasm32") else 64)

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(ir.FloatType(), self.lanes)

    @property
    def tile(self) -> tuple[int, int]:
        """Of so many planes with so many others, the products that are summed together, in registers."""
        return (4, 4) if self.registers == 32 else (2, 4)

    def blocking(self, outputs: int, multiple_of: int = 1) -> tuple[int, int]:
        """How many outputs, and vectors of pixels, two or four, are summed at a time so that sums stay in registers."""
        sums = self.registers - 4  # the others hold pixels and a weight
        blocks = range(multiple_of, max(sums // 2, multiple_of) + 1, multiple_of)
        block = max(block for block in blocks if outputs % block == 0)
        return block, 4 if 4 * block <= sums else 2

    def whole_vectors(self, width: int) -> int:
        """The width in floats, rounded up to whole vectors."""
        return -(-width // self.lanes) * self.lanes

    def machine(self) -> binding.TargetMachine:
        """LLVM's code generator for it."""
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        return binding.Target.from_triple(self.triple).create_target_machine(cpu=self.cpu, features=self.features)


@functools.cache
def host() -> Target | None:
    """The machine that this runs on. None where it has no fused multiply-add: PyTorch is faster there."""
    triple, features = binding.get_default_triple(), binding.get_host_cpu_features()
    if triple.startswith(("aarch64", "arm64")):
        lanes, registers = 4, 32
    elif features.get("fma"):
        lanes, registers = (16, 32) if features.get("avx512f") else (8, 16)
    else:
        return None
    return Target(triple, binding.get_host_cpu_name(), features.flatten(), lanes, registers, fma=True)
