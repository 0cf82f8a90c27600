"""StageSystem: the equations of stages that are solved together, and the linear systems in them."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.ode.jacobian import Jacobian, jacobian_blocks, pull_back
from odevision.ode.solver import Field
from odevision.types import State

Rows = Float[Tensor, "samples entries"]
"""One vector a sample; with a single sample, one for the whole state."""

Slopes = Tensor
"""The stages k_i one above the other, shape (stages, *y.shape)."""


@dataclasses.dataclass(frozen=True)
class StageSystem:
    """k_i = f(t_i, base + sum_j w_ij k_j) for the stages i of a step, all unknown.

    A fully implicit method has one system of all its stages; a diagonally implicit one has systems
    of a single stage, one after the other.

    Attributes:
        f: the vector field.
        times: the t_i.
        weights: the w_ij = dt a_ij.
        base: what the stage states have in common, of y's shape.
        num_samples: equal parts along y's first dimension whose slopes don't depend on one
            another's states; 1 where that is not known.
    """

    f: Field
    times: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    base: State
    num_samples: int

    @property
    def entries(self) -> int:
        """Unknowns of a sample."""
        return self.base.numel() // self.num_samples * len(self.times)

    def is_small(self, most_entries: int) -> bool:
        """Whether matrices of all samples are worth building, and fit in memory."""
        return self.entries <= most_entries and self.num_samples * self.entries**2 <= 2**25

    def states(self, k: Sequence[State] | Slopes) -> list[State]:
        """The stage states y_i that belong to slopes."""
        return [weighted_sum(self.base, row, k) for row in self.weights]

    def slopes_at_rest(self, y0: State) -> Slopes:
        """Slopes for which all stage states are y0, where base allows for that."""
        if len(self.times) > 1:  # base is y0 itself
            return torch.stack([torch.zeros_like(y0)] * len(self.times))
        return ((y0 - self.base) / self.weights[0][0])[None]

    def slopes(self, states: Sequence[State]) -> Slopes:
        """The f(t_i, y_i)."""
        return torch.stack([self.f(t, y) for t, y in zip(self.times, states, strict=True)])

    def rows(self, k: Slopes) -> Rows:
        """The unknowns of each sample in a row of their own."""
        per_sample = k.reshape(len(self.times), self.num_samples, -1)
        return per_sample.transpose(0, 1).reshape(self.num_samples, -1)

    def unrows(self, rows: Rows) -> Slopes:
        """Back from rows to slopes."""
        per_stage = rows.reshape(self.num_samples, len(self.times), -1).transpose(0, 1)
        return per_stage.reshape(len(self.times), *self.base.shape)

    def product(self, jacobian: Jacobian, states: Sequence[State]) -> Callable[[Rows], Rows]:
        """The product with the derivative of k - f: v_i - J_i sum_j w_ij v_j, on rows."""
        products = [jacobian.at(t, y) for t, y in zip(self.times, states, strict=True)]
        zero = torch.zeros_like(self.base)

        def apply(rows: Rows) -> Rows:
            v = self.unrows(rows)
            moved = [weighted_sum(zero, row, v) for row in self.weights]
            turned = torch.stack([p(u) for p, u in zip(products, moved, strict=True)])
            return self.rows(v - turned)

        return apply

    def transposed_product(
        self, k: Sequence[State], states: Sequence[State]
    ) -> Callable[[Rows], Rows]:
        """The transpose of `product`: v_j - sum_i w_ij J_i^T v_i, on rows.

        Args:
            k: the f(t_i, y_i), with their graphs to the states.
            states: the y_i.
        """
        columns = tuple(zip(*self.weights, strict=True))
        zero = torch.zeros_like(self.base)

        def apply(rows: Rows) -> Rows:
            v = self.unrows(rows)
            pulled = [pull_back(k_i, y, v_i) for k_i, y, v_i in zip(k, states, v, strict=True)]
            sums = [weighted_sum(zero, column, pulled) for column in columns]
            return self.rows(v - torch.stack(sums))

        return apply

    def matrices(self, k: Sequence[State], states: Sequence[State]) -> Tensor:
        """The derivative of k - f itself, one block a sample: shape (samples, entries, entries).

        Args:
            k: the f(t_i, y_i), with their graphs to the states.
            states: the y_i.
        """
        blocks = [
            jacobian_blocks(k_i, y, self.num_samples) for k_i, y in zip(k, states, strict=True)
        ]
        coupling = torch.cat(
            [
                torch.cat([w * block for w in row], 2)
                for row, block in zip(self.weights, blocks, strict=True)
            ],
            1,
        )
        one = torch.eye(coupling.shape[1], dtype=coupling.dtype, device=coupling.device)
        return one - coupling


def weighted_sum(y: State, weights: Sequence[float], k: Iterable[State]) -> State:
    """Sum y + sum_i weights_i k_i, without a change to y; weights of 0 cost nothing."""
    total = None
    for weight, k_i in zip(weights, k, strict=True):
        if weight == 0:
            continue
        if total is None:
            total = torch.add(y, k_i, alpha=weight)
        else:  # addition keeps nothing for its backward pass: safe under autograd
            total.add_(k_i, alpha=weight)
    return y.clone() if total is None else total
