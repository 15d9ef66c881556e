"""The compiled network is the paper's."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from llvmlite import binding, ir
from made import other_targets
from plain import enlarged, random_weights

from fsrcnn.geometry import SCALES, VARIANTS, Sizes, variant_sizes
from fsrcnn.native import forward
from fsrcnn.native.target import host, named_target
from fsrcnn.network import Network, network_of
from training import gradient

FURTHER_SCALES = (5, 8)  # supported once they are in geometry.SCALES


def random_luma(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width), np.float32)


# Pictures smaller than the network's reach, of several blocks of columns, and of several strips of rows.
@pytest.mark.parametrize("shape", [(1, 1), (9, 13), (3, 1000), (75, 20)])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_compiled_network_is_the_plain_one(variant: str, scale: int, shape: tuple[int, int]):
    weights, lr = random_weights(variant_sizes(variant, scale)), random_luma(*shape)
    network = network_of(weights, "cpu")
    sr = network(lr)
    np.testing.assert_allclose(sr, enlarged(lr, weights), atol=3e-6, rtol=3e-6)
    with_gaps = np.full((shape[0], shape[1] + 3), np.nan, np.float32)
    with_gaps[:, : shape[1]] = lr
    for network.threads in (1, 2, 5):
        assert np.array_equal(network(with_gaps[:, : shape[1]]), sr)
    first = shape[0] // 3
    assert np.array_equal(network.rows(lr, first, shape[0]), sr[scale * first :])


def test_compiled_network_runs_in_several_threads_at_once():
    network = network_of(random_weights(variant_sizes("fsrcnn", 3)), "cpu")
    pictures = [random_luma(40, 30 + i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(network, pictures))
    assert all(np.array_equal(network(picture), sr) for picture, sr in zip(pictures, together, strict=True))


@pytest.mark.parametrize("full_range", [False, True])
def test_eight_bits_are_the_floats_rounded(full_range: bool):
    network = network_of(random_weights(variant_sizes("fsrcnn_s", 3)), "cpu")
    lr = np.random.default_rng(0).integers(0, 256, (14, 700), np.uint8)[:, :600]
    sr, expected = np.empty((42, 1800), np.uint8), np.empty((42, 1800), np.uint8)
    network.enlarge_samples(lr, sr, 8, full_range)
    Network.enlarge_samples(network, lr, expected, 8, full_range)
    difference = np.abs(sr.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 1e-3  # where the result is half-way between two levels


def run(weights: forward.Weights, target: forward.Target, lr: np.ndarray) -> np.ndarray:
    function = forward.Forward(weights, target)
    sr = np.full([weights.upscale_factor * length for length in lr.shape], np.nan, np.float32)
    for left in function.lefts(lr.shape[1]):
        function.run(lr, sr, 0, len(lr), left)
    return sr


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_code_for_other_targets_is_the_network(variant: str, scale: int):
    weights, lr = random_weights(variant_sizes(variant, scale)), random_luma(45, 13)
    for target in other_targets():
        np.testing.assert_allclose(run(weights, target, lr), enlarged(lr, weights), atol=3e-6, rtol=3e-6)


@pytest.mark.parametrize("scale", FURTHER_SCALES)
def test_other_scales_are_the_network(scale: int):
    weights, lr = random_weights(variant_sizes("fsrcnn", scale)), random_luma(11, 450)
    for target in (host(), *other_targets(), host()._replace(lanes=16, registers=32)):  # as for AVX-512
        np.testing.assert_allclose(run(weights, target, lr), enlarged(lr, weights), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", [Sizes(2, 1, 1, 0), Sizes(3, 7, 3, 2)])
def test_other_sizes_are_the_network(sizes: Sizes):
    weights, lr = random_weights(sizes), random_luma(11, 30)
    np.testing.assert_allclose(run(weights, host(), lr), enlarged(lr, weights), atol=3e-6, rtol=3e-6)


@pytest.mark.parametrize("triple", ["x86_64-pc-windows-msvc", "x86_64-apple-darwin23", "arm64-apple-darwin23"])
def test_code_for_other_systems_calls_nothing_but_what_clears_memory(triple: str):
    """Neither the C library's mathematics, nor what Windows calls for stack frames of a page and more."""
    target, sizes = named_target(triple), variant_sizes("fsrcnn", 3)
    layout = gradient.MemoryLayout(sizes, 26, 26, False, target)
    for emit in (
        partial(forward.emit_network, name="run", plan=forward.MemoryPlan(sizes, target)),
        partial(gradient.emit_function, layout=layout),
    ):
        emit(module := ir.Module())
        machine = target.machine(reloc="pic", codemodel="small")
        assembly = machine.emit_assembly(binding.parse_assembly(str(module)))
        assert set(re.findall(r"^\s+(?:callq|bl)\s+_*(\w+)", assembly, re.MULTILINE)) <= {"memset", "bzero"}
        assert "run:" in assembly
