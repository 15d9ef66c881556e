"""The network in PyTorch's operations, as on GPUs, equals the compiled one; which of the two is chosen; reloading."""

from pathlib import Path

import numpy as np
import pytest
import torch
from made import noise, without_integers
from plain import random_weights

from fsrcnn.devices import is_cpu, select_device
from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES, variant_sizes
from fsrcnn.network import Network, TorchNetwork, load_network, network_of
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.weights import load_weights, save_weights, shipped_weights


def by_pytorch(variant: str, scale: int) -> Network:
    return TorchNetwork(load_weights(shipped_weights(variant, scale)), torch.device("cpu"))


def compiled(variant: str, scale: int) -> Network:
    return network_of(without_integers(load_weights(shipped_weights(variant, scale))), "cpu")


@pytest.mark.parametrize("scale", SCALES)
def test_pictures_by_pytorch_are_those_of_the_compiled_function(scale: int):
    pixels = noise(40, 30, 4)
    results = [enlarge_array(pixels, each("fsrcnn_s", scale)).astype(int) for each in (by_pytorch, compiled)]
    assert np.abs(results[0] - results[1]).max() <= 1


def test_frames_by_pytorch_are_those_of_the_compiled_function():
    for bits, dtype in ((8, np.uint8), (10, np.uint16)):
        lr = (noise(20, 30) * (2 ** (bits - 8))).astype(dtype)
        results = []
        for each in (by_pytorch, compiled):
            sr = np.empty((40, 60), dtype)
            each("fsrcnn_s", 2).enlarge_samples(lr, sr, bits, full_range=True)
            results.append(sr.astype(int))
        assert np.abs(results[0] - results[1]).max() <= 1


def test_the_cpu_is_known_without_pytorch():
    assert is_cpu("cpu")
    assert not is_cpu("cuda")
    assert is_cpu("auto") == (select_device("auto").type == "cpu")


def test_new_weights_under_an_old_name_are_read_anew(tmp_path: Path):
    path, lr = tmp_path / "weights.safetensors", np.full((9, 8), 0.5, np.float32)
    path.write_bytes(shipped_weights("fsrcnn_s", 2).read_bytes())
    first = [load_network(path, 2, "cpu")(lr) for _ in range(2)]
    save_weights(random_weights(variant_sizes("fsrcnn_s", 2)), path)
    assert np.array_equal(*first)
    assert not np.allclose(load_network(path, 2, "cpu")(lr), first[0])
    with pytest.raises(RequestError, match="is for x2, expected x3"):
        load_network(path, 3, "cpu")
