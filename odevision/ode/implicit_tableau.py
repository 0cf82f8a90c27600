"""ImplicitTableau: the coefficients of one implicit Runge-Kutta method, checked when built."""

import dataclasses
from functools import cached_property

from odevision.ode.tableau import Coefficient


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImplicitTableau:
    """An implicit Runge-Kutta method, diagonally or fully so.

    Stage i solves k_i = f(t + c_i dt, y + dt sum_j a_ij k_j), the step is
    y1 = y + dt sum_i b_i k_i, and its local error is estimated by
    dt sum_i (b_i - b_embedded_i) k_i.

    Args:
        name: the word users type.
        order: p, so that the global error falls like dt^p.
        embedded_order: order of the embedded solution; None where there is none.
        a: square rows of stage weights.
        b: weights of the solution, one a stage.
        c: stage times in units of dt, in [0, 1].
        b_embedded: weights of the embedded solution, needed for adaptive steps.
        filters_error: the estimate is taken through (I - dt a_ss df/dy)^-1, to stay bounded in
            stiff directions; for embedded solutions that are not A-stable.
        reference: where the coefficients stand in print.

    Raises:
        ValueError: the coefficients do not form a consistent implicit method.
    """

    name: str
    order: int
    embedded_order: int | None = None
    a: tuple[tuple[Coefficient, ...], ...]
    b: tuple[Coefficient, ...]
    c: tuple[Coefficient, ...]
    b_embedded: tuple[Coefficient, ...] | None = None
    filters_error: bool = False
    reference: str

    def __post_init__(self) -> None:
        """Refuse coefficients that contradict one another."""
        stages = len(self.b)
        if len(self.c) != stages or [len(row) for row in self.a] != [stages] * stages:
            raise ValueError(
                f"tableau {self.name!r} must have {stages} times and {stages} rows of {stages} "
                f"weights, got {len(self.c)} times and rows of {[len(row) for row in self.a]}."
            )
        for row, c in zip(self.a, self.c, strict=True):
            self._check_sum("a row of a", row, c)
        self._check_sum("b", self.b, 1)
        if not all(0 <= c <= 1 for c in self.c):
            raise ValueError(f"tableau {self.name!r}: c must lie in [0, 1], got {self.c}.")
        if (self.b_embedded is None) != (self.embedded_order is None):
            raise ValueError(
                f"tableau {self.name!r} must give b_embedded and embedded_order together."
            )
        if self.b_embedded is not None:
            if len(self.b_embedded) != stages:
                raise ValueError(f"tableau {self.name!r}: b_embedded must have {stages} weights.")
            self._check_sum("b_embedded", self.b_embedded, 1)

    def _check_sum(self, label: str, row: tuple[Coefficient, ...], total: Coefficient) -> None:
        if abs(float(sum(row) - total)) > 1e-13:
            raise ValueError(
                f"tableau {self.name!r}: {label} must sum to {float(total)}, "
                f"got {float(sum(row))!r}."
            )

    @property
    def num_stages(self) -> int:
        """Slopes k_i in a step."""
        return len(self.b)

    @cached_property
    def diagonal(self) -> bool:
        """Each stage depends on earlier ones and itself only, and is solved for by itself."""
        return all(x == 0 for i, row in enumerate(self.a) for x in row[i + 1 :])

    @cached_property
    def explicit_first(self) -> bool:
        """The first stage is f(t0, y0), as in ESDIRK methods."""
        return all(x == 0 for x in self.a[0])

    @cached_property
    def stiffly_accurate(self) -> bool:
        """The last stage stands at (t1, y1), so that its slope is f(t1, y1)."""
        return self.c[-1] == 1 and self.a[-1] == self.b

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
