"""The paper's network and its equal forms."""

import pytest
import torch
from made import random_network
from torch import nn

from imgproc import imresize
from inference.parts import upscale_luma
from model import FSRCNN, VARIANTS, CollapsibleFSRCNN, initialise

SCALES = (2, 3, 4)


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
@pytest.mark.parametrize("width", [0, 128])
def test_three_forms_are_equal(variant: str, scale: int, width: int):
    model = random_network(scale, variant)
    x = torch.rand(2, 1, 13, 9)
    collapsible = CollapsibleFSRCNN(model, width)
    with torch.no_grad():
        expected = model(x)
        assert expected.std() > 0.05
        torch.testing.assert_close(model.fuse()(x), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(collapsible(x), expected, atol=1e-5, rtol=1e-5)
        for parameter in collapsible.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
        moved = collapsible(x)
        assert (moved - expected).abs().max() > 0.01
        torch.testing.assert_close(collapsible.collapse()(x), moved, atol=1e-5, rtol=1e-5)


def test_inference_form_is_differentiable_where_asked():
    model, x = random_network(2), torch.rand(1, 1, 6, 7, requires_grad=True)
    gradients = [torch.autograd.grad(network(x).square().sum(), x)[0] for network in (model, model.fuse())]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


# At x2 the 9 taps hold the whole bicubic kernel; at x3 and x4 its far end is cut off.
@pytest.mark.parametrize(("scale", "tolerance"), [(2, 1e-3), (3, 2), (4, 3)])
def test_bicubic_start_enlarges_as_bicubic_does(scale: int, tolerance: float):
    torch.manual_seed(0)
    model = FSRCNN(scale)
    initialise(model, "bicubic")
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    lr = (120 + 60 * torch.sin(x / 4) * torch.cos(y / 5)).numpy()
    inside = (slice(4 * scale, -4 * scale),) * 2
    assert abs(upscale_luma(model, lr) - imresize(lr, scale))[inside].max() < tolerance


def test_msra_start_is_the_papers():
    torch.manual_seed(0)
    model = FSRCNN(2)
    initialise(model, "msra")
    assert model.deconv.weight.std().item() == pytest.approx(0.001, rel=0.05)
    # He et al.: 2 / ((1 + slope^2) fan_in)
    assert model.expand[0].weight.std().item() == pytest.approx((2 / (1.0625 * 12)) ** 0.5, rel=0.1)
    assert all((module.weight == 0.25).all() for module in model.modules() if isinstance(module, nn.PReLU))
