"""The object files as programs in C call them, on this machine and on others that QEMU emulates."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from made import needed, other_targets, random_network
from plain import random_weights, with_ranges

from exports.c import EXAMPLE, c_file, grouped, header_file, run_c
from exports.shared import reference
from fsrcnn import integers
from fsrcnn.geometry import variant_sizes
from fsrcnn.luma import gain_and_offset
from fsrcnn.native.target import host, named_target
from fsrcnn.weights import Weights
from imgproc import to_uint8

SHAPES = [(1, 1), (7, 11), (40, 401)]
ON_X86 = host() is not None and host().architecture == "x86_64"
LEVELS = ["x86-64-v3", "x86-64-v3-vnni", "x86-64-v4", "x86-64-v4-vnni"]


# Every scale, variant and target, with the others in turn: which weights a target gets makes no difference to it.
CASES = [
    *(("fsrcnn", 2, "native"), ("fsrcnn_s", 3, "native"), ("fsrcnn_s", 4, "native")),
    *(("fsrcnn_s", 2, "aarch64"), ("fsrcnn", 3, "aarch64")),
    *([("fsrcnn_s", 3, "x86-64-v3"), ("fsrcnn", 4, "x86-64-v3")] if ON_X86 else []),
]


@pytest.mark.parametrize(("variant", "scale", "name"), CASES)
def test_example_gives_the_networks_result(variant: str, scale: int, name: str):
    needed(bool(shutil.which("cc")), "a C compiler")
    cross = shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64")
    needed(name != "aarch64" or bool(cross), "gcc-aarch64-linux-gnu or qemu-user")
    weights, target = random_network(scale, variant).weights(), named_target(name)
    files = {"n.h": header_file("n", weights), "n.o": c_file("n", weights, [target])}
    for shape in SHAPES:
        lr = torch.rand(shape).numpy()
        np.testing.assert_allclose(run_c("n", files, target, lr), reference(weights, lr), rtol=0, atol=1e-5)


@pytest.mark.skipif(not ON_X86, reason="levels of x86-64 are put together on x86-64")
def test_library_of_several_levels_takes_what_the_processor_has(tmp_path: Path):
    needed(bool(shutil.which("cc") and shutil.which("qemu-x86_64")), "a C compiler or qemu-user")
    weights, (suffix, targets) = random_with_ranges(2), grouped(LEVELS).popitem()
    assert (suffix, targets) == ("x86-64", [named_target(name) for name in ["x86-64", *LEVELS]])
    (tmp_path / "fsrcnn_x2.h").write_bytes(header_file("fsrcnn_x2", weights))
    (tmp_path / "n.o").write_bytes(c_file("fsrcnn_x2", weights, targets))
    subprocess.run(["cc", "-I.", EXAMPLE, "n.o", "-static", "-o", "enlarge"], cwd=tmp_path, check=True)

    def run(command: list[str | Path], lr: np.ndarray, *kind: str) -> bytes:
        arguments = [*command, "21", "9", *kind]
        return subprocess.run(arguments, input=lr.tobytes(), check=True, capture_output=True).stdout

    native, lr = [tmp_path / "enlarge"], torch.rand(9, 21).numpy()
    samples = np.random.default_rng(0).integers(0, 256, (9, 21), np.uint8)
    in_integers = integers.enlarge_samples(integers.integer_network(weights), samples, False).tobytes()
    assert (run(native, samples) == in_integers) == host().prefers_integers
    for processor in ("qemu64", "max"):  # QEMU's: without AVX, and with AVX2 and FMA, not AVX-512
        emulated = ["qemu-x86_64", "-cpu", processor, *native]
        sr = run(emulated, lr, "float")
        enlarged = np.frombuffer(sr, np.float32).reshape(18, 42)
        np.testing.assert_allclose(enlarged, reference(weights, lr), rtol=0, atol=1e-5)
        assert (sr == run(native, lr, "float")) == (processor == "max")  # two roundings or one tell which code ran
        assert (run(emulated, samples) == in_integers) == (processor == "max")


@pytest.mark.skipif(not ON_X86, reason="levels of x86-64 are put together on x86-64")
def test_vnni_is_taken_where_the_processor_has_it(tmp_path: Path):
    needed(bool(shutil.which("cc")), "a C compiler")
    weights = random_with_ranges(3)
    names = ["x86-64", *(["x86-64-v4", "x86-64-v4-vnni"] if host().lanes == 16 else ["x86-64-v3-vnni"])]
    (tmp_path / "n.o").write_bytes(c_file("n", weights, [named_target(name) for name in names]))
    subprocess.run(["cc", "-shared", "n.o", "-o", "n.so"], cwd=tmp_path, check=True)
    lr = np.random.default_rng(0).integers(0, 256, (9, 21), np.uint8)
    in_integers = integers.enlarge_samples(integers.integer_network(weights), lr, True)
    assert np.array_equal(enlarged_by(tmp_path / "n.so", 3, lr, True), in_integers) == host().dot_product


def random_with_ranges(scale: int) -> Weights:
    return with_ranges(random_weights(variant_sizes("fsrcnn_s", scale)))


def enlarged_by(library: Path, scale: int, lr: np.ndarray, full_range: bool) -> np.ndarray:
    """8-bit samples enlarged by a shared library of the network n, in two strips."""
    loaded, (height, width) = ctypes.CDLL(str(library)), lr.shape
    loaded.n_work_size.restype = ctypes.c_size_t
    sr, work = np.zeros((scale * height, scale * width), np.uint8), np.zeros(loaded.n_work_size(width), np.uint8)
    planes = [value for plane in (lr, sr) for value in (plane.ctypes, ctypes.c_ssize_t(plane.strides[0]))]
    for first, last in ((0, height // 3), (height // 3, height)):
        loaded.n_uint8(*planes, width, height, first, last, int(full_range), work.ctypes)
    return sr


def test_eight_bits_are_the_rounded_result_in_both_ranges(tmp_path: Path):
    needed(bool(shutil.which("cc")), "a C compiler")
    weights = random_network(3, "fsrcnn_s").weights()
    (tmp_path / "n.o").write_bytes(c_file("n", weights, [host()]))
    subprocess.run(["cc", "-shared", "n.o", "-o", "n.so"], cwd=tmp_path, check=True)
    lr = np.random.default_rng(0).integers(0, 256, (14, 37), dtype=np.uint8)
    for full_range in (False, True):
        sr = enlarged_by(tmp_path / "n.so", 3, lr, full_range)
        gain, offset = gain_and_offset(8, full_range)
        enlarged = reference(weights, ((lr * gain + offset) / 255).astype(np.float32))
        expected = (enlarged.astype(np.float64) * 255 - offset) / gain
        assert expected.min() < 20
        difference = np.abs(sr.astype(int) - to_uint8(expected))
        assert difference.max() <= 1
        assert difference.mean() < 1e-3  # where the result is half-way between two levels


def test_eight_bits_are_those_of_the_integers_where_a_target_prefers_them(tmp_path: Path):
    needed(bool(shutil.which("cc")), "a C compiler")
    weights, lr = random_with_ranges(3), np.random.default_rng(0).integers(0, 256, (14, 700), dtype=np.uint8)
    network = integers.integer_network(weights)
    for number, target in enumerate([host(), *other_targets()]):
        (tmp_path / "n.o").write_bytes(c_file("n", weights, [target]))
        subprocess.run(["cc", "-shared", "n.o", "-o", f"{number}.so"], cwd=tmp_path, check=True)
        for full_range in (False, True):
            sr = enlarged_by(tmp_path / f"{number}.so", 3, lr, full_range)
            in_integers = integers.enlarge_samples(network, lr, full_range)
            assert np.array_equal(sr, in_integers) == target.prefers_integers


@pytest.mark.parametrize(("variant", "scale"), [("fsrcnn_s", 2), ("fsrcnn", 3), ("fsrcnn_s", 4)])
def test_nothing_beyond_the_buffers_is_touched(tmp_path: Path, variant: str, scale: int):
    needed(bool(shutil.which("cc")), "a C compiler")
    weights = with_ranges(random_weights(variant_sizes(variant, scale)))
    (tmp_path / "network.h").write_bytes(header_file("network", weights))
    (tmp_path / "network.o").write_bytes(c_file("network", weights, [host()]))
    command = ["cc", "-g", "-fsanitize=address,undefined", "-I.", Path(__file__).with_name("guarded.c"), "network.o"]
    subprocess.run([*command, "-o", "guarded"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "guarded"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "nothing else was touched\n"), done.stderr[-2000:]
