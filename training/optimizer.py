"""SOAP, the optimiser of the default recipe."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam


class SOAP(torch.optim.Optimizer):
    """Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., 2024, arXiv 2409.11321).

    A weight is treated as a matrix of its first dimension by all others; vectors get plain Adam. Neighbouring pixels
    are so alike that the gradients of a kernel's taps are strongly correlated. In the eigenbasis they are not, and one
    step size per axis of it gets much further than one per tap.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        steps_between_bases: int = 10,
    ) -> None:
        """betas: decay of the mean gradient and of its second moments. steps_between_bases: from one update of the
        eigenbases to the next.
        """
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "steps_between_bases": steps_between_bases})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # takes no closure, which is for losses evaluated several times
        """Takes one step. A weight's first step only measures the gradient, as in the paper."""
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            vectors = [parameter for parameter in trained if parameter.ndim == 1]
            stepped = [(vector, vector.grad, self._vector_state(vector)) for vector in vectors]
            stacks = _stacks(trained)
            for stack in stacks:
                stepped += self._turned_gradient(stack, group)
            _adam_step(stepped, group)
            for stack in stacks:
                self._turn_back(stack, group)

    def _vector_state(self, vector: Tensor) -> dict[str, Any]:
        state = self.state[vector]
        if not state:
            state |= _adam_state(vector)
        return state

    def _turned_gradient(self, stack: list[Tensor], group: dict[str, Any]) -> list[tuple[Tensor, Tensor, Any]]:
        """What Adam takes for a stack: the change, zero as yet, the gradient in the eigenbases, and the state, which is
        kept under the stack's first weight. Empty in the first step.
        """
        gradients = [weight.grad for weight in stack if weight.grad is not None]
        state, gradient = self.state[stack[0]], torch.stack([each.flatten(1) for each in gradients])
        if not state:
            state |= _adam_state(gradient) | {"age": 0, "change": torch.zeros_like(gradient)}
            for side, covariance in (("rows", gradient @ gradient.mT), ("columns", gradient.mT @ gradient)):
                state |= {side: covariance, f"{side}_basis": _eigenbases(covariance)}
            return []
        beta = group["betas"][1]
        state["rows"].baddbmm_(gradient, gradient.mT, beta=beta, alpha=1 - beta)
        state["columns"].baddbmm_(gradient.mT, gradient, beta=beta, alpha=1 - beta)
        state["age"] += 1
        state["change"].zero_()
        return [(state["change"], state["rows_basis"].mT @ gradient @ state["columns_basis"], state)]

    def _turn_back(self, stack: list[Tensor], group: dict[str, Any]) -> None:
        """Turns Adam's change back and adds it to the weights; updates the eigenbases every few steps."""
        state = self.state[stack[0]]
        if not state["age"]:
            return
        changes = state["rows_basis"] @ state["change"] @ state["columns_basis"].mT
        for weight, change in zip(stack, changes, strict=True):
            weight.add_(change.view_as(weight))
        if state["age"] % group["steps_between_bases"] == 0:
            mean = state["rows_basis"] @ state["mean"] @ state["columns_basis"].mT
            for dimension, side in enumerate(("rows", "columns"), 1):
                _turn_basis(state, side, dimension)
            state["mean"] = state["rows_basis"].mT @ mean @ state["columns_basis"]


def _stacks(parameters: list[Tensor]) -> list[list[Tensor]]:
    """The weights grouped by shape: a group is computed together."""
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    shapes = dict.fromkeys(weight.shape for weight in weights)
    return [[weight for weight in weights if weight.shape == shape] for shape in shapes]


def _adam_state(parameter: Tensor) -> dict[str, Any]:
    step = torch.zeros((), device=parameter.device)
    return {"step": step, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}


def _adam_step(stepped: list[tuple[Tensor, Tensor, dict[str, Any]]], group: dict[str, Any]) -> None:
    """Adam on parameters, given with their gradients and states, all in one operation."""
    if not stepped:
        return
    parameters, gradients, states = map(list, zip(*stepped, strict=True))
    means, squares, steps = ([state[name] for state in states] for name in ("mean", "square", "step"))
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


def _eigenbases(covariance: Tensor) -> Tensor:
    """Eigenvectors of a stack of symmetric matrices, as columns, by falling eigenvalue; NaN if one is not finite."""
    matrices = covariance.cpu()  # where matrices this small are fast; Apple's GPUs could not
    if not matrices.isfinite().all():
        return torch.full_like(covariance, torch.nan)
    try:
        bases = torch.linalg.eigh(matrices)[1]
    except RuntimeError:  # in float32, many eigenvalues near zero keep LAPACK from converging
        bases = torch.linalg.eigh(matrices.double())[1].to(matrices.dtype)
    return bases.flip(2).to(covariance.device)


def _turn_basis(state: dict[str, Any], side: str, dimension: int) -> None:
    """One power iteration of a side's eigenbases, sorted by eigenvalue; the second moments are sorted with them."""
    covariance, basis = state[side], state[f"{side}_basis"]
    order = (basis * (covariance @ basis)).sum(1).argsort(1, descending=True)
    along = order.unsqueeze(3 - dimension).expand_as(state["square"])
    state["square"] = state["square"].gather(dimension, along)
    turned = covariance @ basis.gather(2, order[:, None].expand_as(basis))
    state[f"{side}_basis"] = torch.linalg.qr(turned.cpu())[0].to(basis.device)
