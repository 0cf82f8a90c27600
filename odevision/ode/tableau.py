"""ButcherTableau: the coefficients of one Runge-Kutta method, checked when it is built."""

import dataclasses
from fractions import Fraction
from functools import cached_property

Coefficient = Fraction | float | int


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

    @property
    def num_stages(self) -> int:
        """Evaluations of f in a step that starts without a known f0."""
        return len(self.b)

    @cached_property
    def num_solution_stages(self) -> int:
        """Stages that y1 needs; the rest serves the error estimate or the next step."""
        return max(i for i, weight in enumerate(self.b) if weight != 0) + 1

    @cached_property
    def fsal(self) -> bool:
        """First same as last: the last stage is f(t1, y1), the next step's first stage."""
        return self.c[-1] == 1 and self.b[-1] == 0 and self.a[-1] == self.b[:-1]

    @cached_property
    def stage_weights(self) -> tuple[tuple[float, ...], ...]:
        """Rows of a, as floats."""
        return tuple(tuple(float(x) for x in row) for row in self.a)

    @cached_property
    def stage_times(self) -> tuple[float, ...]:
        """The c, as floats."""
        return tuple(float(x) for x in self.c)

    @cached_property
    def solution_weights(self) -> tuple[float, ...]:
        """The b, as floats."""
        return tuple(float(x) for x in self.b)

    @cached_property
    def error_weights(self) -> tuple[float, ...] | None:
        """The b - b_embedded, subtracted before rounding to floats."""
        if self.b_embedded is None:
            return None
        return tuple(float(b - e) for b, e in zip(self.b, self.b_embedded, strict=True))

    @cached_property
    def dense_weights(self) -> tuple[float, ...] | None:
        """The d of the quartic interpolant, as floats."""
        return None if self.b_dense is None else tuple(float(x) for x in self.b_dense)


def _check_sum(name: str, label: str, row: tuple[Coefficient, ...], total: Coefficient) -> None:
    if abs(float(sum(row) - total)) > 1e-13:
        raise ValueError(
            f"tableau {name!r}: {label} must sum to {float(total)}, got {float(sum(row))!r}."
        )
