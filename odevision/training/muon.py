"""Muon: orthogonal updates for banks of convolution filters, Nesterov SGD for all else."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

NUM_ITERATIONS = 3
"""Newton-Schulz iterations an update: enough to bring singular values between about 0.3 and 1.2."""

# An odd polynomial that takes small singular values up fast and keeps large ones near 1.
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315


def is_filter_bank(parameter: Tensor) -> bool:
    """Whether a parameter holds the filters of a convolution: four dimensions, not 1 x 1."""
    return parameter.ndim == 4 and parameter[0, 0].numel() > 1


def orthogonalize(
    matrix: Float[Tensor, "rows columns"],
    num_iterations: int = NUM_ITERATIONS,
    *,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "rows columns"]:
    """Bring all singular values of a matrix near 1, and keep its singular vectors.

    Reference: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".

    Args:
        matrix: of any scale; zero stays zero.
        num_iterations: of the Newton-Schulz iteration.
        dtype: of the arithmetic; None takes the matrix's. bfloat16 is exact enough, and several
            times faster where there are instructions for it.

    Returns:
        About U V^T of the decomposition U S V^T, in the matrix's dtype.
    """
    x = matrix.to(dtype or matrix.dtype)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    x = x / (torch.linalg.vector_norm(x) + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.T
        x = torch.addmm(
            x, torch.addmm(gram, gram, gram, beta=_CUBIC, alpha=_QUINTIC), x, beta=_LINEAR
        )
    return (x.T if is_tall else x).to(matrix.dtype)


class Muon(Optimizer):
    """Momentum with orthogonal updates for filter banks, Nesterov SGD for every other group.

    A bank of filters is taken as a matrix with one filter a row. Its update is the orthogonal
    matrix nearest to the momentum, so that no direction of the gradient drowns the others; its size
    is the learning rate times that of a bank with filters of norm 1. Before the update the bank is
    scaled to filters of mean square norm 1: with a normalization behind them, or inside, their
    scale means nothing but a second learning rate. A bank that starts at zero is not scaled.

    Args:
        groups: parameter groups of torch.optim. Those with `is_filters` true hold filter banks; lr
            is then the relative change a step, near 0.2 at batches of 1,000 to 2,000.
        momentum: of the SGD groups, in [0, 1).
        filter_momentum: of the filter banks, in [0, 1).
        dtype: in which banks are made orthogonal; None takes their own.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        momentum: float,
        filter_momentum: float,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Give each group its momentum."""
        self.dtype = dtype
        groups = [
            {**group, "momentum": filter_momentum if group["is_filters"] else momentum}
            for group in groups
        ]
        super().__init__(groups, {"is_filters": False, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            update = self._update_filters if group["is_filters"] else self._update_others
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, group)

    def _velocity(self, parameter: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """Nesterov's: the gradient and what the momentum makes of it."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].mul_(momentum).add_(gradient)
        return gradient.add(buffer, alpha=momentum)

    def _update_filters(self, bank: Tensor, group: dict[str, Any]) -> None:
        assert bank.grad is not None
        state, num_filters = self.state[bank], len(bank)
        if "is_scaled" not in state:
            state["is_scaled"] = bool(bank.any())  # waits for the device, once
        velocity = self._velocity(bank, bank.grad, group["momentum"])
        if state["is_scaled"]:
            bank.mul_(math.sqrt(num_filters) / torch.linalg.vector_norm(bank))
        direction = orthogonalize(velocity.flatten(1), dtype=self.dtype)
        bank.sub_(direction.view_as(bank), alpha=group["lr"])

    def _update_others(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
        parameter.sub_(self._velocity(parameter, gradient, group["momentum"]), alpha=group["lr"])
