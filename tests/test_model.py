"""The paper's network and its equal forms."""

import numpy as np
import pytest
import torch
from made import random_network
from torch import nn

from evaluation.scores import upscale_luma
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.network import network_of
from fsrcnn.pytorch import SubpixelFSRCNN
from imgproc import imresize
from model import FSRCNN, initialise
from training.form import TrainingFSRCNN


@pytest.mark.parametrize(("variant", "parameters"), [("fsrcnn", 12_809), ("fsrcnn_s", 4_086)])
@pytest.mark.parametrize("scale", SCALES)
def test_size_and_parameter_count(variant: str, parameters: int, scale: int):
    model = FSRCNN(scale, **VARIANTS[variant])
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model(torch.rand(2, 1, 7, 11)).shape == (2, 1, 7 * scale, 11 * scale)


def test_state_dict_has_the_keys_of_fsrcnn_pytorch():
    keys = list(FSRCNN(3).state_dict())
    assert keys[:6] == [
        f"{part}.{i}.{p}"
        for part in ("feature_extraction", "shrink")
        for i, p in ((0, "weight"), (0, "bias"), (1, "weight"))
    ]
    assert [key for key in keys if key.startswith("map") and key.endswith("weight")] == [
        f"map.{i}.weight" for i in range(8)
    ]
    assert keys[-5:] == ["expand.0.weight", "expand.0.bias", "expand.1.weight", "deconv.weight", "deconv.bias"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_all_forms_are_equal(variant: str, scale: int):
    model, x = random_network(scale, variant), torch.rand(2, 1, 13, 9)
    with torch.no_grad():
        expected = model(x)
        assert expected.std() > 0.05
        compiled = network_of(model.weights(), "cpu")
        of_engine = torch.from_numpy(np.stack([compiled(lr[0].numpy()) for lr in x])[:, None])
        for form in (TrainingFSRCNN.from_model(model), SubpixelFSRCNN(model.weights()), lambda _: of_engine):
            torch.testing.assert_close(form(x), expected, atol=1e-5, rtol=1e-5)


def test_weights_go_to_the_engine_and_back_as_copies():
    model = random_network(4, "fsrcnn_s")
    weights = model.weights()
    assert {name: value.shape for name, value in model.state_dict().items()} == weights.sizes.shapes()
    again = FSRCNN.from_weights(weights)
    with torch.no_grad():
        model.deconv.weight.zero_()
    assert (again.deconv.weight != 0).any()
    assert (weights.parameters["deconv.weight"] != 0).any()


# At x2 the 9 taps hold the whole bicubic kernel; at x3 and x4 its far end is cut off.
@pytest.mark.parametrize(("scale", "tolerance"), [(2, 1e-3), (3, 2), (4, 3)])
def test_bicubic_start_enlarges_as_bicubic_does(scale: int, tolerance: float):
    torch.manual_seed(0)
    model = FSRCNN(scale)
    initialise(model, "bicubic")
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    lr = (120 + 60 * torch.sin(x / 4) * torch.cos(y / 5)).numpy()
    inside = (slice(4 * scale, -4 * scale),) * 2
    assert abs(upscale_luma(network_of(model.weights(), "cpu"), lr) - imresize(lr, scale))[inside].max() < tolerance


def test_msra_start_is_the_papers():
    torch.manual_seed(0)
    model = FSRCNN(2)
    initialise(model, "msra")
    assert model.deconv.weight.std().item() == pytest.approx(0.001, rel=0.05)
    # He et al.: 2 / ((1 + slope^2) fan_in)
    assert model.expand[0].weight.std().item() == pytest.approx((2 / (1.0625 * 12)) ** 0.5, rel=0.1)
    assert all((module.weight == 0.25).all() for module in model.modules() if isinstance(module, nn.PReLU))
