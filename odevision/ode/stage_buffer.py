"""StageBuffer: the stages of a step as one matrix, so that a weighted sum is one product."""

import torch

from odevision.ode.tableau import Row
from odevision.ode.tracing import transformed
from odevision.types import State

# Above this size a sum costs its work and not its launch, and a copy into the buffer costs as much.
_FEW_ENTRIES = 16_384


class StageBuffer:
    """Scratch memory of one solve, overwritten by every step; for solves that leave no graph.

    Args:
        num_stages: rows of the matrix.
        y: a state, of any shape; the stages are shaped like it.

    Attributes:
        shape: that of the states it serves.
    """

    def __init__(self, num_stages: int, y: State) -> None:
        """Reserve the memory, and make all views of it once."""
        self.shape = y.shape
        matrix = torch.empty((num_stages, y.numel()), dtype=y.dtype, device=y.device)
        self._rows = matrix.view(num_stages, *y.shape).unbind()
        columns = matrix.t()
        self._base: State | None = y
        self._flat_base = y.view(-1)
        self._heads = [columns[:, :count] for count in range(num_stages + 1)]

    @staticmethod
    def suits(y: State) -> bool:
        """Whether products beat sums here, and give the same numbers.

        Under autocast a product would be rounded to half precision.
        """
        return (
            y.numel() <= _FEW_ENTRIES
            and y.is_contiguous()
            and not transformed()
            and not torch.is_autocast_enabled(y.device.type)
        )

    def put(self, i: int, k: State) -> None:
        """Copy stage i into its row."""
        self._rows[i].copy_(k)

    def rest(self) -> None:
        """Let the last state go, between two uses."""
        self._base, self._flat_base = None, self._rows[0].view(-1)

    def add_weighted(self, y: State | None, dt: float, row: Row) -> State:
        """Sum y + dt sum_i row_i k_i over the stages that were put; None counts as 0."""
        if y is not None and y is not self._base:
            self._base, self._flat_base = y, y.view(-1)  # the same for all stages of a step
        base = self._flat_base
        count = row.indices[-1] + 1  # later rows may not be filled
        weights = row.tensor(count, base)
        beta = 0 if y is None else 1
        head = self._heads[count]
        return torch.addmv(base, head, weights, beta=beta, alpha=dt).view(self.shape)
