"""SOAP: plain Adam on vectors, and the same losses whatever coordinates a weight is written in."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.optimizer import SOAP


def minimised(start: Tensor, loss: Callable[[Tensor], Tensor], make: Callable[[list[Tensor]], torch.optim.Optimizer]):
    """The losses of 40 steps."""
    weight = start.clone().requires_grad_()
    optimizer, losses = make([weight]), []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(loss(weight))
        losses[-1].backward()
        optimizer.step()
    return torch.stack(losses).detach()


def test_vectors_are_left_to_adam():
    torch.manual_seed(0)
    start, target = torch.randn(2, 7, dtype=torch.float64)

    def loss(weight: Tensor) -> Tensor:
        return ((weight - target) ** 4).sum()

    adam = minimised(start, loss, lambda weights: torch.optim.Adam(weights, 0.1, betas=(0.9, 0.99)))
    soap = minimised(start, loss, lambda weights: SOAP(weights, 0.1, betas=(0.9, 0.99)))
    torch.testing.assert_close(soap, adam)


@pytest.mark.parametrize("shape", [(5, 7), (5, 1, 2, 3)])
def test_turning_the_coordinates_changes_nothing(shape: tuple[int, ...]):
    torch.manual_seed(0)
    rows, columns = shape[0], torch.Size(shape[1:]).numel()
    start, target = torch.randn(2, rows, columns, dtype=torch.float64)
    inputs = torch.randn(columns, 100, dtype=torch.float64) * torch.logspace(-1, 1, columns)[:, None]
    turn = torch.linalg.qr(torch.randn(columns, columns, dtype=torch.float64))[0]

    def loss_for(seen: Tensor, wanted: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda weight: ((weight.reshape(rows, columns) - wanted) @ seen).square().mean()

    def run(make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> tuple[Tensor, Tensor]:
        plain = minimised(start.view(shape), loss_for(inputs, target), make)
        turned = minimised((start @ turn).view(shape), loss_for(turn.T @ inputs, target @ turn), make)
        return plain, turned

    plain, turned = run(lambda weights: SOAP(weights, 0.03))
    torch.testing.assert_close(plain, turned, rtol=1e-4, atol=0)
    assert plain[-1] < plain[0] / 2
    adam, adam_turned = run(lambda weights: torch.optim.Adam(weights, 0.03))
    assert not torch.allclose(adam, adam_turned, rtol=1e-2)
