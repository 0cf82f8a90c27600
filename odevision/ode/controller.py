"""Step size controllers: how long the next step is, and whether the last one counts."""

import dataclasses
import math
from collections.abc import Callable

import torch

from odevision.ode.norm import worst_sample_norm
from odevision.ode.runge_kutta import ExplicitRungeKutta, Field, Step
from odevision.types import Number, Scalar, State


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What the loop does next.

    Attributes:
        accept: whether the attempted step counts.
        dt: signed length of the next step.
        error_ratio: error of the attempted step in units of the tolerance; 0 where none is known.
        history: the controller's memory of earlier steps.
    """

    accept: bool
    dt: float
    error_ratio: float = 0.0
    history: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantController:
    """`num_steps` steps of equal length; every step counts and no error is computed."""

    num_steps: int
    adaptive = False

    def __post_init__(self) -> None:
        """Refuse anything but a positive whole number."""
        if not isinstance(self.num_steps, int) or self.num_steps < 1:
            raise ValueError(
                f"`num_steps` must be a whole number of at least 1, got {self.num_steps!r}. Try 4, "
                "or leave it out for adaptive steps."
            )

    def start(
        self,
        f: Field,
        solver: ExplicitRungeKutta,
        t0: float,
        t1: float,
        y0: State,
        f0: State | None,
    ) -> Proposal:
        """First step: one num_steps-th of the way."""
        del f, solver, y0, f0
        return Proposal(True, (t1 - t0) / self.num_steps, history=(1.0,))

    def adapt(
        self, solver: ExplicitRungeKutta, step: Step, t1: float, previous: Proposal
    ) -> Proposal:
        """Next step: the rest of the way over the steps left, so the last lands on t1 exactly."""
        del solver
        done = previous.history[0]
        left = max(self.num_steps - done, 1)
        return Proposal(True, (t1 - step.t1) / left, history=(done + 1,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PIDController:
    """Steps as long as the tolerance allows.

    With e = error / (atol + rtol max(|y0|, |y1|)) in the chosen norm and q the order of the
    embedded solution, the next step is dt safety e_n^-b1 e_{n-1}^-b2 e_{n-2}^-b3, where
    b1 = (P + I + D)/(q+1), b2 = -(P + 2D)/(q+1) and b3 = D/(q+1) (Soderlind 2003). The step size is
    a plain float: it never enters the autograd graph.

    Args:
        rtol: relative tolerance, > 0 or 0 with atol > 0.
        atol: absolute tolerance, in units of y.
        norm: from a scaled error to one number.
        proportional: P; 0 gives the I controller of SciPy, the best on smooth vector fields.
        integral: I.
        derivative: D.
        safety: aims below the tolerance, in (0, 1].
        min_factor: most a step may shrink at once.
        max_factor: most a step may grow at once.
        dt_max: longest step, in ODE time; the one that lands on t1 may be 1 % longer.
        dt0: first step, in ODE time; None estimates it with one more evaluation.
    """

    rtol: Number = 1e-3
    atol: Number = 1e-4
    norm: Callable[[State], Scalar] = worst_sample_norm
    proportional: float = 0.0
    integral: float = 1.0
    derivative: float = 0.0
    safety: float = 0.9
    min_factor: float = 0.2
    max_factor: float = 10.0
    dt_max: Number = math.inf
    dt0: Number | None = None
    adaptive = True

    def __post_init__(self) -> None:
        """Refuse settings under which no step could ever count."""
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ValueError(
                    f"`{name}` must be a number of at least 0, got {value!r}. Try 1e-4."
                )
        if self.rtol == 0 and self.atol == 0:
            raise ValueError("`rtol` and `atol` must not both be 0. Try rtol=1e-3, atol=1e-4.")
        if not 0 < self.safety <= 1:
            raise ValueError(f"`safety` must lie in (0, 1], got {self.safety}. Try 0.9.")
        if not 0 < self.min_factor < 1 < self.max_factor:
            raise ValueError(
                f"`min_factor` and `max_factor` must lie below and above 1, got {self.min_factor} "
                f"and {self.max_factor}. Try 0.2 and 10."
            )
        for name in ("dt_max", "dt0"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}. Its sign is t1 - t0's.")

    def start(
        self,
        f: Field,
        solver: ExplicitRungeKutta,
        t0: float,
        t1: float,
        y0: State,
        f0: State | None,
    ) -> Proposal:
        """First step: `dt0`, or the estimate of Hairer, Norsett, Wanner I, section II.4."""
        length = abs(t1 - t0)
        direction = math.copysign(1.0, t1 - t0)
        if self.dt0 is not None:
            dt = self.dt0
        else:
            assert f0 is not None
            dt = self._first_step(f, solver, t0, length * direction, y0, f0)
        return Proposal(True, direction * min(dt, self.dt_max, length))

    def _first_step(
        self, f: Field, solver: ExplicitRungeKutta, t0: float, span: float, y0: State, f0: State
    ) -> float:
        with torch.no_grad():
            scale = self._scale(y0.abs())
            d0, d1 = torch.stack([self.norm(y0 / scale), self.norm(f0 / scale)]).tolist()
            known = 1e-5 <= d0 < math.inf and 1e-5 <= d1 < math.inf
            h0 = 0.01 * d0 / d1 if known else 1e-6
            # At most half the way, so that rounding cannot carry the probe past t1.
            h0 = min(max(h0, 1e-10 * abs(span)), 0.5 * abs(span))
            probe = math.copysign(h0, span)
            f_probe = f(t0 + probe, torch.add(y0, f0, alpha=probe))
            d2 = float(self.norm((f_probe - f0) / scale)) / h0
        worst = max(d1, d2)
        if not (
            math.isfinite(d1) and math.isfinite(d2)
        ):  # the first step finds out, and says where
            return h0
        if worst <= 1e-15:
            return max(1e-6, 100 * h0)
        assert solver.tableau.embedded_order is not None
        h1 = (0.01 / worst) ** (1 / (solver.tableau.embedded_order + 1))
        return min(100 * h0, h1)

    def adapt(
        self, solver: ExplicitRungeKutta, step: Step, t1: float, previous: Proposal
    ) -> Proposal:
        """Judge a step by its error and propose the next one's length."""
        del t1
        dt = step.t1 - step.t0
        # The one host read of an attempted step: the loop needs the verdict.
        ratio = float(self.norm(self.scaled_error(solver, step)))
        if not math.isfinite(ratio):
            return Proposal(False, dt * self.min_factor, ratio, previous.history)
        assert solver.tableau.embedded_order is not None
        accept = ratio <= 1
        factor = self._factor(ratio, previous.history, solver.tableau.embedded_order + 1)
        if not accept:
            factor = min(factor, self.safety)
        elif not previous.accept:  # a step that just failed must not grow right away
            factor = min(factor, 1.0)
        factor = min(max(factor, self.min_factor), self.max_factor)
        length = min(abs(dt) * factor, self.dt_max)
        history = (ratio, *previous.history[:1]) if accept else previous.history
        return Proposal(accept, math.copysign(length, dt), ratio, history)

    def scaled_error(self, solver: ExplicitRungeKutta, step: Step) -> State:
        """Local error estimate of a step in units of the tolerance, entry by entry."""
        with torch.no_grad():
            return solver.error(step).div_(self._scale(torch.maximum(step.y0.abs(), step.y1.abs())))

    def _scale(self, size: State) -> State:
        scale = size.mul(self.rtol).add_(self.atol)
        # Without atol an entry that rests at 0 would be 0 / 0.
        return scale if self.atol > 0 else scale.clamp_(min=torch.finfo(scale.dtype).tiny)

    def _factor(self, ratio: float, history: tuple[float, ...], exponent: int) -> float:
        if ratio == 0:
            return self.max_factor
        p, i, d = self.proportional, self.integral, self.derivative
        one, two = (*history, 1.0, 1.0)[:2]
        b1, b2, b3 = (p + i + d) / exponent, -(p + 2 * d) / exponent, d / exponent
        return self.safety * ratio**-b1 * max(one, 1e-10) ** -b2 * max(two, 1e-10) ** -b3


Controller = ConstantController | PIDController
