"""ButcherTableau: the coefficients of one Runge-Kutta method, checked when it is built."""

import dataclasses
import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from odevision.ode.tracing import lasting

Coefficient = Fraction | float | int


class Row:
    """One row of a tableau as floats, ready for use.

    Attributes:
        indices: places of the entries that are not 0.
        weights: these entries.
        all: every entry.
    """

    def __init__(self, row: Sequence[Coefficient]) -> None:
        """Round to floats once."""
        self.all = tuple(float(x) for x in row)
        self.indices: tuple[int, ...] = tuple(i for i, x in enumerate(self.all) if x != 0)
        self.weights: tuple[float, ...] = tuple(self.all[i] for i in self.indices)
        self._tensors: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def tensor(self, count: int, like: Tensor) -> Tensor:
        """The first `count` entries as a tensor of the dtype of `like`, which is made once."""
        if not lasting(like):
            return torch.tensor(self.all[:count], dtype=like.dtype, device=like.device)
        key = (count, like.dtype, like.device)
        if key not in self._tensors:
            with torch.inference_mode(False):
                kept = torch.tensor(self.all[:count], dtype=like.dtype, device=like.device)
                self._tensors[key] = kept
        return self._tensors[key]


def _derived() -> Any:
    """A field that follows from the others."""
    return dataclasses.field(init=False, repr=False, compare=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ButcherTableau:
    """An explicit Runge-Kutta method.

    Stage i is k_i = f(t + c_i dt, y + dt sum_j a_ij k_j), the step is y1 = y + dt sum_i b_i k_i,
    and its local error is estimated by dt sum_i (b_i - b_embedded_i) k_i.

    Args:
        name: the word users type.
        order: p, so that the global error falls like dt^p.
        embedded_order: order of the embedded solution; None where there is none.
        a: rows of stage weights; row i holds i numbers (row 0 is empty).
        b: weights of the solution, one a stage.
        c: stage times in units of dt.
        b_embedded: weights of the embedded solution, needed for adaptive steps.
        b_dense: weights d_i of the term theta^2 (1 - theta)^2 dt sum_i d_i k_i that lifts the cubic
            Hermite interpolant to order 4; None keeps the cubic.
        reference: where the coefficients stand in print.

    Attributes:
        num_solution_stages: stages that y1 needs; the rest serves the error estimate or the next
            step.
        fsal: first same as last: the last stage is f(t1, y1), the next step's first stage.
        stage_rows, times_row, solution_row, dense_row: a, c, b and b_dense as floats.
        error_row: b - b_embedded as floats.

    Raises:
        ValueError: the coefficients do not form a consistent explicit method.
    """

    name: str
    order: int
    embedded_order: int | None = None
    a: tuple[tuple[Coefficient, ...], ...]
    b: tuple[Coefficient, ...]
    c: tuple[Coefficient, ...]
    b_embedded: tuple[Coefficient, ...] | None = None
    b_dense: tuple[Coefficient, ...] | None = None
    reference: str
    num_solution_stages: int = _derived()
    fsal: bool = _derived()
    stage_rows: tuple[Row, ...] = _derived()
    times_row: Row = _derived()
    solution_row: Row = _derived()
    error_row: Row | None = _derived()
    dense_row: Row | None = _derived()

    def __post_init__(self) -> None:
        """Refuse coefficients that contradict one another."""
        stages = len(self.b)
        if len(self.c) != stages or [len(row) for row in self.a] != list(range(stages)):
            raise ValueError(
                f"tableau {self.name!r} must have {stages} times and rows of 0 to {stages - 1} "
                f"weights, got {len(self.c)} times and rows of {[len(row) for row in self.a]}."
            )
        for row, c in zip(self.a, self.c, strict=True):
            _check_sum(self.name, "a row of a", row, c)
        _check_sum(self.name, "b", self.b, 1)
        if (self.b_embedded is None) != (self.embedded_order is None):
            raise ValueError(
                f"tableau {self.name!r} must give b_embedded and embedded_order together."
            )
        for label, row, total in (("b_embedded", self.b_embedded, 1), ("b_dense", self.b_dense, 0)):
            if row is not None:
                if len(row) != stages:
                    raise ValueError(f"tableau {self.name!r}: {label} must have {stages} weights.")
                _check_sum(self.name, label, row, total)
        self._derive()

    def _derive(self) -> None:
        """Make what follows from the coefficients; a lazy property would stop torch.compile."""
        set_field = functools.partial(object.__setattr__, self)
        set_field("num_solution_stages", max(i for i, w in enumerate(self.b) if w != 0) + 1)
        fsal = self.c[-1] == 1 and self.b[-1] == 0 and self.a[-1] == self.b[:-1]
        set_field("fsal", fsal)
        set_field("stage_rows", tuple(Row(row) for row in self.a))
        set_field("times_row", Row(self.c))
        set_field("solution_row", Row(self.b))
        embedded, dense = self.b_embedded, self.b_dense
        # Subtracted before rounding to floats.
        errors = [b - e for b, e in zip(self.b, embedded, strict=True)] if embedded else None
        set_field("error_row", None if errors is None else Row(errors))
        set_field("dense_row", None if dense is None else Row(dense))

    @property
    def num_stages(self) -> int:
        """Evaluations of f in a step that starts without a known f0."""
        return len(self.b)


def _check_sum(name: str, label: str, row: tuple[Coefficient, ...], total: Coefficient) -> None:
    if abs(float(sum(row) - total)) > 1e-13:
        raise ValueError(
            f"tableau {name!r}: {label} must sum to {float(total)}, got {float(sum(row))!r}."
        )
