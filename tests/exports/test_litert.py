"""The models for LiteRT in its interpreter."""

import importlib.util

import numpy as np
import pytest
from made import needed, random_network

from exports.graph import CHANNELS
from exports.litert import litert_file, run_litert
from exports.shared import Interface, from_planes, reference_of
from fsrcnn.geometry import SCALES


@pytest.mark.parametrize("interface", CHANNELS)
@pytest.mark.parametrize("scale", [*SCALES, 5, 8])
def test_interpreter_gives_the_networks_result(interface: Interface, scale: int):
    needed(importlib.util.find_spec("ai_edge_litert") is not None, "ai-edge-litert (`make extra`)")
    weights = random_network(scale, "fsrcnn_s").weights()
    content = litert_file(weights, interface)
    for size in ((1, 1), (7, 11), (70, 33)):
        lr = from_planes(np.random.default_rng(0).random((CHANNELS[interface], *size), np.float32))
        np.testing.assert_allclose(run_litert(content, lr), reference_of(weights, interface, lr), rtol=0, atol=2e-5)
