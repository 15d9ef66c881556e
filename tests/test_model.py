"""The paper's network, its equal forms, and its weights files."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

import native
from errors import RequestError
from imgproc import imresize
from model import FSRCNN, VARIANTS, CollapsibleFSRCNN, initialise, load_weights, save_weights, upscale_luma

SCALES = (2, 3, 4)


def random_network(scale: int, variant: str = "fsrcnn") -> FSRCNN:
    """Every weight, bias and slope random and of a size that shows in the output."""
    torch.manual_seed(0)
    model = FSRCNN(scale, **VARIANTS[variant])
    initialise(model, "msra")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=max(parameter.detach().std(correction=0).item(), 0.05))
    return model


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


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# Pictures smaller than what the network reaches, of several blocks of columns, and of several strips of rows.
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 13, 9), (1, 1, 3, 1000), (3, 1, 75, 20)])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_inference_forms_are_the_network(variant: str, scale: int, shape: tuple[int, ...], threads: int):
    model = random_network(scale, variant)
    fused = model.fuse()
    x = torch.rand(shape).transpose(2, 3).contiguous().transpose(2, 3)  # not in the order of memory
    with torch.no_grad():
        expected = model.double()(x.double())
        torch.testing.assert_close(fused(x).double(), expected, atol=3e-6, rtol=3e-6)
        assert torch.equal(fused(x), native.upscale(x, fused.packed, **model.model_args))
        torch.testing.assert_close(fused.double()(x.double()), expected, atol=1e-6, rtol=1e-6)


def test_inference_form_is_differentiable_where_asked():
    model, x = random_network(2), torch.rand(1, 1, 6, 7, requires_grad=True)
    gradients = [torch.autograd.grad(network(x).square().sum(), x)[0] for network in (model, model.fuse())]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_inference_form_runs_in_several_threads_at_once():
    fused = random_network(3).fuse()
    pictures = [torch.rand(1, 1, 40, 30 + i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fused, pictures))
    assert all(torch.equal(fused(picture), sr) for picture, sr in zip(pictures, together, strict=True))


# Patches of the default and of the paper's size, and an odd one, more of them than threads and fewer.
@pytest.mark.parametrize(("number", "height", "width"), [(3, 26, 26), (5, 7, 7), (1, 9, 13)])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_training_form_has_the_plain_networks_error_and_gradients(
    variant: str, scale: int, squared: bool, number: int, height: int, width: int, threads: int
):
    model = random_network(scale, variant)
    training = CollapsibleFSRCNN(model, width=0)
    lr, hr = torch.rand(number, 1, height, width), torch.rand(number, 1, scale * height, scale * width)
    error = training.error(lr, hr, squared)
    (error / 10).backward()
    exact = model.double()
    difference = exact(lr.double()) - hr
    expected = (difference.square() if squared else difference.abs()).sum()
    (expected / 10).backward()
    torch.testing.assert_close(error.double(), expected, rtol=1e-6, atol=0)
    for ours, theirs in zip(training.parameters(), exact.parameters(), strict=True):
        largest = theirs.grad.abs().max().item()
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=2e-6 * largest)
    whole = [parameter.grad for parameter in training.deconv.parameters()]
    training.zero_grad()
    for parameter in training.parameters():
        parameter.requires_grad_(parameter is training.deconv.weight or parameter is training.deconv.bias)
    (training.error(lr, hr, squared) / 10).backward()
    assert all(map(torch.equal, whole, (parameter.grad for parameter in training.deconv.parameters())))


def test_training_form_in_pytorchs_operations_agrees_with_the_compiled_one():
    compiled, plain = (CollapsibleFSRCNN(random_network(3), width=8) for _ in range(2))
    plain.double()
    lr, hr = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 24, 24)
    error, expected = compiled.error(lr, hr, False), plain.error(lr.double(), hr.double(), False)
    torch.testing.assert_close(error.double(), expected, rtol=1e-5, atol=0)
    error.backward()
    expected.backward()
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        largest = theirs.grad.abs().max().item()
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=1e-5 * largest)


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


def test_weights_file_round_trip(tmp_path: Path):
    model = random_network(4, "fsrcnn_s")
    save_weights(model, tmp_path / "a.pth")
    loaded = load_weights(tmp_path / "a.pth")
    assert loaded.model_args == {"upscale_factor": 4, "d": 32, "s": 5, "m": 1}
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def as_yjn870(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of yjn870/FSRCNN-pytorch, in which shrink, map and expand are one sequence."""
    mid = [key for key in state_dict if key.split(".")[0] in ("shrink", "map", "expand")]
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in mid))
    names = {"feature_extraction": "first_part", "deconv": "last_part"}
    renamed = {}
    for key, value in state_dict.items():
        layer, _, parameter = key.rpartition(".")
        if key in mid:
            renamed[f"mid_part.{layers.index(layer)}.{parameter}"] = value
        else:
            renamed[key.replace(key.split(".")[0], names[key.split(".")[0]])] = value
    return renamed


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {f"module.{key}": value for key, value in weights.items()},
        lambda weights: {"state_dict": {f"_orig_mod.module.{key}": value for key, value in weights.items()}},
        as_yjn870,
        lambda weights: {"state_dict": {f"module.{key}": value for key, value in as_yjn870(weights).items()}},
    ],
)
def test_others_weights_load(tmp_path: Path, variant: str, wrap: Callable[[dict], dict]):
    model, path = random_network(3, variant), tmp_path / "other.pth"
    torch.save(wrap(dict(model.state_dict())), path)
    loaded = load_weights(path, upscale_factor=3)
    assert loaded.model_args == model.model_args
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(RequestError, match="--upscale-factor"):
        load_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PyTorch weights file"),
        (b"not weights", "not a PyTorch weights file"),
        ([1, 2], "expected the keys feature_extraction.0.weight.*found nothing"),
        ({"conv1.weight": torch.zeros(1)}, "expected the keys feature_extraction.0.weight.*found conv1.weight"),
        ({"state_dict": {}, "model_args": {"upscale_factor": 2}}, "Missing key"),
        ({"state_dict": {}, "model_args": {"scale": 2}}, "unexpected keyword"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object, message: str):
    path = tmp_path / "other.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(RequestError, match=message) as error:
        load_weights(path)
    assert str(path) in str(error.value)
