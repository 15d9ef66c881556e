"""The compiled error and gradient are those of PyTorch's operations."""

import pytest
import torch
from made import other_targets, random_network

from model import VARIANTS, CollapsibleFSRCNN
from native import gradient
from native.target import host

SCALES = (2, 3, 4)


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


@pytest.mark.parametrize("scale", SCALES)
def test_code_for_other_targets_gives_the_same_gradients(scale: int):
    for target in other_targets():
        parameters = list(random_network(scale, "fsrcnn_s").parameters())
        lr, hr = torch.rand(2, 1, 9, 9), torch.rand(2, 1, 9 * scale, 9 * scale)
        one, other = (gradient.error(lr, hr, scale, parameters, True, each) for each in (host(), target))
        torch.testing.assert_close(other, one, rtol=1e-6, atol=0)
        pairs = zip(*(torch.autograd.grad(error, parameters) for error in (one, other)), strict=True)
        for expected, got in pairs:
            torch.testing.assert_close(got, expected, rtol=0, atol=2e-6 * expected.abs().max().item())


# Patches of the paper's size, and odd ones.
@pytest.mark.parametrize(("height", "width"), [(7, 7), (5, 9)])
@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("scale", SCALES)
def test_patches_with_a_margin_have_the_error_of_an_unpadded_first_convolution(
    scale: int, missing: int, height: int, width: int
):
    model = random_network(scale)
    training, plain = (CollapsibleFSRCNN(model, width=0) for _ in range(2))
    lr = torch.rand(3, 1, height + 4, width + 4)
    hr = torch.rand(3, 1, height * scale - missing, width * scale - missing)
    error = training.error(lr, hr, True)
    error.backward()
    exact = model.double()
    features = torch.nn.functional.conv2d(
        lr.double(), exact.feature_extraction[0].weight, exact.feature_extraction[0].bias
    )
    sr = exact.deconv(exact.expand(exact.map(exact.shrink(exact.feature_extraction[1](features)))))
    expected = (sr[..., : hr.shape[2], : hr.shape[3]] - hr).square().sum()
    expected.backward()
    torch.testing.assert_close(error.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(plain.double().error(lr.double(), hr.double(), True), expected, rtol=1e-12, atol=0)
    for ours, theirs in zip(training.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=2e-6 * theirs.grad.abs().max().item())
