"""The compiled network in integers gives, on every machine, the bytes of its plain form in NumPy."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from llvmlite import binding, ir
from made import needed, other_targets
from plain import random_weights, with_ranges

from fsrcnn import integers
from fsrcnn.geometry import SCALES, VARIANTS, Sizes, variant_sizes
from fsrcnn.integers import PEAK_STEPS, IntegerNetwork, integer_network
from fsrcnn.native.integer_forward import IntegerForward, IntegerPlan, emit_integer_network
from fsrcnn.native.packing import pack_integers
from fsrcnn.native.target import Target, host, named_target
from fsrcnn.network import network_of

SHAPES = [(1, 1), (1, 37), (9, 13), (3, 1500), (45, 37)]
SMALL = Sizes(3, 9, 5, 1)  # all kinds of layers, odd numbers of channels; compiled in a third of the time


def random_integers(sizes: Sizes) -> IntegerNetwork:
    """A network whose activations are within their ranges mostly, clipped at times, as is what it gives in 8 bits."""
    weights = random_weights(sizes)
    weights.parameters["deconv.weight"] *= 3
    weights.parameters["deconv.bias"] += 0.5
    network = integer_network(with_ranges(weights))
    assert network
    return network


def random_steps(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, PEAK_STEPS + 1, (height, width), np.int16)


def random_samples(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


def run(network: IntegerNetwork, target: Target, lr: np.ndarray, full_range: bool = False) -> np.ndarray:
    """Enlarges it in strips of rows, out of and into planes whose rows have gaps."""
    function, scale, (height, width) = IntegerForward(network, target), network.sizes.upscale_factor, lr.shape
    wide = np.full((height, width + 3), -1 if lr.dtype == np.int16 else 77, lr.dtype)
    wide[:, :width] = lr
    into = np.full((scale * height, scale * width + 5), 99, lr.dtype)
    for left in function.lefts(width):
        for first, last in ((0, height // 3), (height // 3, height)):
            function.run(wide[:, :width], into[:, : scale * width], first, last, left, full_range)
    assert (into[:, scale * width :] == 99).all()
    return into[:, : scale * width]


def targets() -> list[Target]:
    """Those whose code this machine runs: all levels of x86-64, and narrow vectors with a dot product."""
    here = host()
    narrow = [here._replace(lanes=8, registers=16)] if here.dot_product else []
    lowest = [here._replace(cpu="x86-64", features="", lanes=4, registers=16, fma=False)]
    without = [here._replace(cpu="x86-64-v4", features="")] if here.lanes == 16 else []
    return [here, *other_targets()[1:], *narrow, *without, *(lowest if here.architecture == "x86_64" else [])]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_compiled_network_is_the_plain_one(variant: str, scale: int):
    network = random_integers(variant_sizes(variant, scale))
    for shape in SHAPES:
        lr = random_steps(*shape)
        assert np.array_equal(run(network, host(), lr), integers.enlarge(network, lr))


def test_code_for_every_level_gives_the_same_bytes():
    network = random_integers(SMALL)
    for lr, full_range, sr in cases(network, 14, 39):
        for target in targets():
            assert np.array_equal(run(network, target, lr, full_range), sr)


def cases(network: IntegerNetwork, height: int, width: int) -> list[tuple[np.ndarray, bool, np.ndarray]]:
    """A plane of each kind, whether its range is full, and what the plain form makes of it."""
    steps, samples = random_steps(height, width), random_samples(height, width)
    large = [integers.enlarge_samples(network, samples, full_range) for full_range in (False, True)]
    assert all((sr == end).any() for sr in large for end in (0, 255))
    return [(steps, False, integers.enlarge(network, steps)), (samples, False, large[0]), (samples, True, large[1])]


@pytest.mark.parametrize(("cpu", "lanes", "registers"), [("alderlake", 8, 16), ("sapphirerapids", 16, 32)])
def test_two_products_and_their_sum_are_one_instruction_with_vnni(cpu: str, lanes: int, registers: int):
    features = "+avxvnni" if lanes == 8 else "+avx512vnni"
    target = named_target("x86_64-unknown-linux-gnu")
    target = target._replace(cpu=cpu, features=features, lanes=lanes, registers=registers)
    emit_integer_network(module := ir.Module(), "run", IntegerPlan(SMALL, target))
    assembly = target.machine().emit_assembly(binding.parse_assembly(str(module)))
    assert assembly.count("vpdpwssd") > 50
    assert "vpmaddwd" not in assembly


@pytest.mark.parametrize("triple", ["x86_64-pc-windows-msvc", "x86_64-apple-darwin23", "arm64-apple-darwin23"])
def test_code_for_other_systems_calls_nothing_but_what_clears_memory(triple: str):
    target = named_target(triple)
    emit_integer_network(module := ir.Module(), "run", IntegerPlan(variant_sizes("fsrcnn_s", 3), target))
    machine = target.machine(reloc="pic", codemodel="small")
    assembly = machine.emit_assembly(binding.parse_assembly(str(module)))
    assert set(re.findall(r"^\s+(?:callq|bl)\s+_*(\w+)", assembly, re.MULTILINE)) <= {"memset", "bzero"}


@pytest.mark.parametrize("full_range", [False, True])
def test_network_enlarges_eight_bits_in_integers_where_they_are_faster(full_range: bool):
    weights = with_ranges(random_weights(variant_sizes("fsrcnn_s", 3)))
    network, without = network_of(weights, "cpu"), network_of(random_weights(weights.sizes), "cpu")
    assert network.in_integers == host().prefers_integers
    assert not without.in_integers
    lr, luma = random_samples(14, 700)[:, :600], random_steps(80, 60)
    sr = np.empty((42, 1800), np.uint8)
    network.enlarge_samples(lr, sr, 8, full_range)
    integers_sr = integers.enlarge_samples(integer_network(weights), lr, full_range)
    assert np.array_equal(sr, integers_sr) == network.in_integers
    if network.in_integers:
        expected = integers.enlarge(integer_network(weights), luma)
        assert np.array_equal(network.rows_in_steps(luma, 3, 9), expected[9:27])
        assert np.array_equal(network.in_steps(luma), expected)
    floats = random_steps(9, 13).astype(np.float32) / PEAK_STEPS
    assert np.array_equal(network(floats), without(floats))


@pytest.mark.parametrize("sizes", [Sizes(2, 1, 1, 0), Sizes(3, 7, 3, 2), Sizes(5, 8, 4, 1)])
def test_other_sizes_are_the_plain_network(sizes: Sizes):
    network, lr = random_integers(sizes), random_steps(11, 30)
    assert np.array_equal(run(network, host(), lr), integers.enlarge(network, lr))


def test_aarch64_gives_the_same_bytes(tmp_path: Path):
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    needed(bool(compiler and emulator), "gcc-aarch64-linux-gnu or qemu-user")
    network, target = random_integers(SMALL), named_target("aarch64")
    plan, packed = IntegerPlan(network.sizes, target), pack_integers(network, target)
    emit_integer_network(module := ir.Module(), "run", plan)
    code = target.machine(reloc="pic", codemodel="small").emit_object(binding.parse_assembly(str(module)))
    (tmp_path / "run.o").write_bytes(code)
    program = Path(__file__).with_name("integers.c")
    subprocess.run([compiler, "-static", program, "run.o", "-o", "run"], cwd=tmp_path, check=True)
    height, width = 9, 40
    for lr, full_range, sr in cases(network, height, width):
        columns = plan.columns(width)
        numbers = width, height, 3, columns, 4 * plan.floats(columns), len(packed), lr.itemsize == 1, full_range
        command = [emulator, tmp_path / "run", *(str(int(number)) for number in numbers)]
        done = subprocess.run(command, input=packed.tobytes() + lr.tobytes(), capture_output=True, check=True)
        assert done.stdout == sr.tobytes()


def test_webassembly_gives_the_same_bytes(tmp_path: Path):
    needed(bool(shutil.which("wasm-ld") and shutil.which("node")), "wasm-ld (package lld) or Node")
    network, target = random_integers(SMALL), named_target("wasm32")
    plan = IntegerPlan(network.sizes, target)
    emit_integer_network(module := ir.Module(), "run", plan)
    (tmp_path / "run.o").write_bytes(target.machine().emit_object(binding.parse_assembly(str(module))))
    link = ["wasm-ld", "--no-entry", "-z", "stack-size=16384", "--export=__heap_base", "--export=run", "run.o"]
    subprocess.run([*link, "-o", "run.wasm"], cwd=tmp_path, check=True)
    (tmp_path / "words").write_bytes(pack_integers(network, target).tobytes())
    height, width = 9, 40
    columns = plan.columns(width)
    for lr, full_range, sr in cases(network, height, width):
        (tmp_path / "lr").write_bytes(lr.tobytes())
        numbers = width, height, 3, columns, 4 * plan.floats(columns), lr.itemsize == 1, full_range
        command = ["node", Path(__file__).with_name("integers.cjs"), "run.wasm", "words", "lr"]
        command += [str(int(number)) for number in numbers]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout == sr.tobytes()
