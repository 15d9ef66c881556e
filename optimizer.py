"""SOAP, the optimiser of the default recipe."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam


class SOAP(torch.optim.Optimizer):
    """Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., 2024, arXiv 2409.11321).

    A weight is seen as a matrix of its first dimension by all others; vectors are left to plain Adam. Neighbouring
    pixels are so alike that the gradients of a kernel's taps are strongly correlated: along their own axes, where
    the correlation is gone, one step size per axis gets much further than one per tap.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        steps_between_bases: int = 10,
    ) -> None:
        """betas: decay of the mean gradient, and of its second moments; the basis follows every few steps."""
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "steps_between_bases": steps_between_bases})

    @torch.no_grad()
    def step(self) -> None:
        """One step of every parameter; the first only measures the gradient, as the paper does."""
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            self._vector_steps([parameter for parameter in trained if parameter.ndim == 1], group)
            for parameter in trained:
                if parameter.ndim > 1:
                    self._matrix_step(parameter, group)

    def _vector_steps(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                zero = torch.zeros((), device=parameter.device)
                state = {"step": zero, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
                self.state[parameter] = state
        states = [self.state[parameter] for parameter in parameters]
        means, squares, steps = ([state[name] for state in states] for name in ("mean", "square", "step"))
        gradients = [parameter.grad for parameter in parameters]
        beta1, beta2 = group["betas"]
        adam(
            parameters,
            gradients,
            means,
            squares,
            max_exp_avg_sqs=[],
            state_steps=steps,
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )

    def _matrix_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad.reshape(len(parameter), -1)
        sides = {"rows": gradient @ gradient.T, "columns": gradient.T @ gradient}
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
            for side, covariance in sides.items():
                basis = torch.linalg.eigh(covariance.cpu())[1].flip(1).to(covariance.device)
                state |= {side: covariance, f"{side}_basis": basis}
            return
        state["step"] += 1
        for side, covariance in sides.items():
            state[side].lerp_(covariance, 1 - group["betas"][1])
        mean = state["mean"].lerp_(gradient, 1 - group["betas"][0])
        rows, columns = state["rows_basis"], state["columns_basis"]
        direction = _adam_direction(rows.T @ mean @ columns, rows.T @ gradient @ columns, state, group)
        parameter.sub_(group["lr"] * (rows @ direction @ columns.T).view_as(parameter))
        if state["step"] % group["steps_between_bases"] == 0:
            for dimension, side in enumerate(sides):
                _turn_basis(state, side, dimension)


def _adam_direction(mean: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Adam's bias-corrected mean over the root of the second moment, which is updated."""
    beta1, beta2 = group["betas"]
    square = state["square"].lerp_(gradient.square(), 1 - beta2)
    root = (square / (1 - beta2 ** state["step"])).sqrt() + group["eps"]
    return mean / (1 - beta1 ** state["step"]) / root


def _turn_basis(state: dict[str, Any], side: str, dimension: int) -> None:
    """One power iteration of a side's eigenbasis, sorted by eigenvalue; the second moments are sorted along.

    Matrices this small are decomposed on the CPU; Apple's GPUs could not.
    """
    covariance, basis = state[side], state[f"{side}_basis"]
    order = (basis * (covariance @ basis)).sum(0).argsort(descending=True)
    state["square"] = state["square"].index_select(dimension, order)
    state[f"{side}_basis"] = torch.linalg.qr((covariance @ basis[:, order]).cpu())[0].to(basis.device)
