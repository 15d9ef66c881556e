"""The object files as programs in C call them, on this machine and on others that QEMU emulates."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from made import needed, random_network

from exports.c import EXAMPLE, c_file, grouped, header_file, run_c
from exports.shared import reference
from fsrcnn.luma import gain_and_offset
from fsrcnn.native.target import host, named_target
from imgproc import to_uint8

SHAPES = [(1, 1), (7, 11), (40, 401)]
ON_X86 = host() is not None and host().architecture == "x86_64"
X86_LEVELS = ("x86-64-v3", "x86-64-v4")


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
@pytest.mark.parametrize("processor", ["qemu64", "max"])  # QEMU's: without AVX, and with AVX2 and FMA, not AVX-512
def test_library_of_several_levels_takes_what_the_processor_has(tmp_path: Path, processor: str):
    needed(bool(shutil.which("cc") and shutil.which("qemu-x86_64")), "a C compiler or qemu-user")
    weights, (suffix, targets) = random_network(2, "fsrcnn_s").weights(), grouped(X86_LEVELS).popitem()
    assert (suffix, [each.cpu for each in targets]) == ("x86-64", ["x86-64", *X86_LEVELS])
    (tmp_path / "fsrcnn_x2.h").write_bytes(header_file("fsrcnn_x2", weights))
    (tmp_path / "n.o").write_bytes(c_file("fsrcnn_x2", weights, targets))
    subprocess.run(["cc", "-I.", EXAMPLE, "n.o", "-static", "-o", "enlarge"], cwd=tmp_path, check=True)
    lr = torch.rand(9, 21).numpy()
    command = ["qemu-x86_64", "-cpu", processor, tmp_path / "enlarge", "21", "9", "float"]
    sr = np.frombuffer(subprocess.run(command, input=lr.tobytes(), check=True, capture_output=True).stdout, np.float32)
    np.testing.assert_allclose(sr.reshape(18, 42), reference(weights, lr), rtol=0, atol=1e-5)
    fused = subprocess.run([tmp_path / "enlarge", *command[-3:]], input=lr.tobytes(), check=True, capture_output=True)
    assert (sr.tobytes() == fused.stdout) == (processor == "max")  # two roundings or one tell which code ran


@pytest.mark.parametrize("full_range", [False, True])
def test_eight_bits_are_the_rounded_result_in_both_ranges(tmp_path: Path, full_range: bool):
    needed(bool(shutil.which("cc")), "a C compiler")
    weights = random_network(3, "fsrcnn_s").weights()
    (tmp_path / "n.o").write_bytes(c_file("n", weights, [host()]))
    subprocess.run(["cc", "-shared", "n.o", "-o", "n.so"], cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "n.so"))
    library.n_work_size.restype = ctypes.c_size_t
    lr = np.random.default_rng(0).integers(0, 256, (14, 37), dtype=np.uint8)
    sr, work = np.zeros((42, 111), np.uint8), np.zeros(library.n_work_size(37), np.uint8)
    planes = [value for plane in (lr, sr) for value in (plane.ctypes, ctypes.c_ssize_t(plane.strides[0]))]
    library.n_uint8(*planes, 37, 14, 0, 14, int(full_range), work.ctypes)
    gain, offset = gain_and_offset(8, full_range)
    enlarged = reference(weights, ((lr * gain + offset) / 255).astype(np.float32))
    expected = (enlarged.astype(np.float64) * 255 - offset) / gain
    assert expected.min() < 20
    difference = np.abs(sr.astype(int) - to_uint8(expected))
    assert difference.max() <= 1
    assert difference.mean() < 1e-3  # where the result is half-way between two levels


@pytest.mark.parametrize(("variant", "scale"), [("fsrcnn_s", 2), ("fsrcnn", 3), ("fsrcnn_s", 4)])
def test_nothing_beyond_the_buffers_is_touched(tmp_path: Path, variant: str, scale: int):
    needed(bool(shutil.which("cc")), "a C compiler")
    weights = random_network(scale, variant).weights()
    (tmp_path / "network.h").write_bytes(header_file("network", weights))
    (tmp_path / "network.o").write_bytes(c_file("network", weights, [host()]))
    command = ["cc", "-g", "-fsanitize=address,undefined", "-I.", Path(__file__).with_name("guarded.c"), "network.o"]
    subprocess.run([*command, "-o", "guarded"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "guarded"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "nothing else was touched\n"), done.stderr[-2000:]
