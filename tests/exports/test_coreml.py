"""The Core ML package, read back: Core ML itself runs under macOS alone."""

import importlib.util
import json

import numpy as np
import pytest
from made import needed, random_network
from torch import nn

from exports.coreml import coreml_package, run_coreml
from exports.graph import CHANNELS
from exports.shared import Interface, from_planes, reference_of

# A folder that coremltools leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")


@pytest.mark.parametrize(("scale", "interface"), [(2, "luma"), (3, "luma_full"), (4, "rgb")])
def test_operations_give_the_networks_result(scale: int, interface: Interface):
    needed(importlib.util.find_spec("coremltools") is not None, "coremltools (`make extra`)")
    network = random_network(scale, "fsrcnn_s")
    nn.init.zeros_(network.map[1].weight)  # equal slopes, of which coremltools would make another operation
    weights = network.weights()
    package = coreml_package(weights, interface)
    lr = from_planes(np.random.default_rng(0).random((CHANNELS[interface], 20, 13), np.float32))
    np.testing.assert_allclose(run_coreml(package, lr), reference_of(weights, interface, lr), rtol=0, atol=2e-5)
    listed = json.loads(package["Manifest.json"])["itemInfoEntries"].values()
    for item in listed:
        assert any(name.startswith(f"Data/{item['path']}") for name in package)
