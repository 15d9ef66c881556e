"""The compiled error and gradient are those of PyTorch's operations."""

import pytest
import torch
from made import other_targets
from plain import enlarge, random_weights, tensors
from torch import Tensor

from fsrcnn.geometry import SCALES, VARIANTS, Sizes, variant_sizes
from fsrcnn.native.target import Target, host
from fsrcnn.weights import Weights
from training import gradient
from training import threads as training_threads

MARGIN = 2  # of LR pixels that the first convolution sees in place of zeros


def expected(weights: Weights, lr: Tensor, hr: Tensor, squared: bool, margin: int = 0) -> tuple[Tensor, list[Tensor]]:
    """The error and the gradient of each parameter, in double precision."""
    parameters = tensors(weights)
    sr = enlarge(lr.double(), parameters, weights.upscale_factor, margin)
    difference = sr[..., : hr.shape[2], : hr.shape[3]] - hr
    error = (difference.square() if squared else difference.abs()).sum()
    return error.detach(), list(torch.autograd.grad(error, parameters))


def compiled(weights: Weights, lr: Tensor, hr: Tensor, squared: bool, target: Target) -> tuple[Tensor, list[Tensor]]:
    parameters = tensors(weights, torch.float32)
    error = gradient.error(lr, hr, weights.sizes, parameters, squared, target)
    return error.detach(), list(torch.autograd.grad(error, parameters))


def assert_close(ours: tuple[Tensor, list[Tensor]], theirs: tuple[Tensor, list[Tensor]]) -> None:
    """Errors to 1e-6 of their value, gradients to 2e-6 of the largest of their parameter."""
    torch.testing.assert_close(ours[0].double(), theirs[0], rtol=1e-6, atol=0)
    for our, their in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(our.double(), their, rtol=0, atol=2e-6 * their.abs().max().item())


def random_patches(number: int, height: int, width: int, scale: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(number, 1, height, width), torch.rand(number, 1, scale * height, scale * width)


# Patches of the default and of the paper's size, and an odd one, more of them than threads and fewer.
@pytest.mark.parametrize(("number", "height", "width"), [(3, 26, 26), (5, 7, 7), (1, 9, 13)])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_error_and_gradient_are_the_plain_networks(
    variant: str, scale: int, squared: bool, number: int, height: int, width: int, threads: int
):
    weights = random_weights(variant_sizes(variant, scale))
    lr, hr = random_patches(number, height, width, scale)
    ours = compiled(weights, lr, hr, squared, host())
    assert_close(ours, expected(weights, lr, hr, squared))


@pytest.mark.parametrize("scale", SCALES)
def test_deconvolutions_gradient_alone_is_the_same(scale: int):
    weights = random_weights(variant_sizes("fsrcnn_s", scale))
    lr, hr = random_patches(2, 9, 9, scale)
    _, gradients = compiled(weights, lr, hr, True, host())
    parameters = tensors(weights, torch.float32)
    for parameter in parameters[:-2]:
        parameter.requires_grad_(False)
    gradient.error(lr, hr, weights.sizes, parameters, True, host()).backward()
    assert all(map(torch.equal, gradients[-2:], (parameter.grad for parameter in parameters[-2:])))


@pytest.mark.parametrize("scale", [*SCALES, 5, 8])
def test_code_for_other_targets_gives_the_same_gradients(scale: int):
    weights = random_weights(variant_sizes("fsrcnn_s", scale))
    lr, hr = random_patches(2, 9, 9, scale)
    for target in (host(), *other_targets()):
        assert_close(compiled(weights, lr, hr, True, target), expected(weights, lr, hr, True))


# Patches of the paper's size, and odd ones.
@pytest.mark.parametrize(("height", "width"), [(7, 7), (5, 9)])
@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("scale", SCALES)
def test_patches_with_a_margin_have_the_error_of_an_unpadded_first_convolution(
    scale: int, missing: int, height: int, width: int
):
    weights = random_weights(Sizes(scale, 20, 6, 2))
    lr, _ = random_patches(3, height + 2 * MARGIN, width + 2 * MARGIN, scale)
    hr = torch.rand(3, 1, height * scale - missing, width * scale - missing)
    assert_close(compiled(weights, lr, hr, True, host()), expected(weights, lr, hr, True, MARGIN))


def test_threads_are_pytorchs_until_they_are_taken(threads: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training_threads, "_taken", None)
    assert training_threads.get_num_threads() == threads
    for _ in range(2):
        training_threads.take_threads()
        assert (training_threads.get_num_threads(), torch.get_num_threads()) == (threads, 1)
