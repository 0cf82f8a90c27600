"""Step size controllers: how long the next step is, and whether the last one counts."""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from odevision.ode.norm import max_norm, rms_norm, split_norm, worst_sample_norm
from odevision.ode.solver import AbstractSolver, Field, Step
from odevision.ode.tracing import lasting
from odevision.types import Number, Scalar, State


def without_start(controller: Any) -> Any:
    """The same judge of steps: the first step's length is no part of a compiled graph."""
    if getattr(controller, "dt0", None) is None:
        return controller
    return dataclasses.replace(controller, dt0=None)


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What the loop does next.

    Attributes:
        accept: whether the attempted step counts.
        dt: signed length of the next step.
        error_ratio: error of the attempted step in units of the tolerance; 0 where none is known.
        history: the controller's memory of earlier steps.
        size: |y|, entry by entry, where the next step starts.
    """

    accept: bool
    dt: float
    error_ratio: float = 0.0
    history: tuple[float, ...] = ()
    size: State | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantController:
    """`num_steps` steps of equal length; every step counts and no error is computed."""

    num_steps: int
    adaptive = False
    step_points: tuple[float, ...] = ()
    jump_points: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse anything but a positive whole number."""
        is_count = isinstance(self.num_steps, numbers.Integral) and self.num_steps is not True
        if not is_count or self.num_steps < 1:
            raise ValueError(
                f"`num_steps` must be a whole number of at least 1, got {self.num_steps!r}. Try 4, "
                "or leave it out for adaptive steps."
            )

    def grid(self, t0: float, t1: float) -> list[float]:
        """Ends of all steps; the last is t1 exactly."""
        span, count = t1 - t0, self.num_steps
        return [t0 + span * (i / count) for i in range(1, count)] + [t1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridController:
    """Steps from each of the given times to the next; every step counts, no error is computed.

    Args:
        times: ordered in the direction of integration, in ODE time. t0 and t1 are part of the grid
            whether they are given or not; times outside [t0, t1] are left out.
    """

    times: Sequence[Number] | Tensor
    adaptive = False
    step_points: tuple[float, ...] = ()
    jump_points: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse times that are not finite or not ordered."""
        times = self.times
        times = times.flatten().tolist() if isinstance(times, Tensor) else list(times)
        if not all(math.isfinite(t) for t in times):
            raise ValueError(f"`times` must be finite, got {times}.")
        if list(times) not in (sorted(times), sorted(times, reverse=True)):
            raise ValueError(f"`times` must be ordered, got {list(times)}. Try to sort them.")
        object.__setattr__(self, "times", tuple(float(t) for t in times))

    def grid(self, t0: float, t1: float) -> list[float]:
        """Ends of all steps; the last is t1 exactly."""
        low, high = min(t0, t1), max(t0, t1)
        inside = sorted({float(t) for t in self.times if low < t < high}, reverse=t1 < t0)
        return [*inside, t1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PIDController:
    """Steps as long as the tolerance allows.

    With e = error / (atol + rtol max(|y0|, |y1|)) in the chosen norm and q the order of the
    embedded solution, the next step is dt safety e_n^-b1 e_{n-1}^-b2 e_{n-2}^-b3, where
    b1 = (P + I + D)/(q+1), b2 = -(P + 2D)/(q+1) and b3 = D/(q+1) (Soderlind 2003). The step size is
    a plain float: it never enters the autograd graph.

    Args:
        rtol: relative tolerance, > 0 or 0 with atol > 0; a number, or a tensor that broadcasts
            against y.
        atol: absolute tolerance, in units of y; a number or such a tensor.
        norm: from a scaled error to one number.
        proportional: P; 0 gives the I controller of SciPy, the best on smooth vector fields.
        integral: I.
        derivative: D.
        safety: aims below the tolerance, in (0, 1].
        min_factor: most a step may shrink at once.
        max_factor: most a step may grow at once.
        dt_min: shortest step, in ODE time; a step of this length counts whatever its error.
        dt_max: longest step, in ODE time; the one that lands on t1 may be 1 % longer.
        dt0: first step, in ODE time, for instance `stats.dt_warm` of a similar solve; None
            estimates it with one more evaluation.
        step_points: times to land on, such as those of kinks in f, in ODE time.
        jump_points: times where f jumps: the solve lands on them and never evaluates f there, only
            right before and right after.
        noise: relative rounding error of f. What it makes of an error estimate could be lowered by
            no shorter step, and is left out. None takes the precision of autocast where f runs
            under it (2^-7 for bfloat16), and 0 elsewhere.
    """

    rtol: Number | Tensor = 1e-3
    atol: Number | Tensor = 1e-4
    norm: Callable[[State], Scalar] = worst_sample_norm
    proportional: float = 0.0
    integral: float = 1.0
    derivative: float = 0.0
    safety: float = 0.9
    min_factor: float = 0.2
    max_factor: float = 10.0
    dt_min: Number = 0.0
    dt_max: Number = math.inf
    dt0: Number | None = None
    step_points: Sequence[Number] | Tensor = ()
    jump_points: Sequence[Number] | Tensor = ()
    noise: float | None = None
    adaptive = True

    def __post_init__(self) -> None:
        """Refuse settings under which no step could ever count."""
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                good = bool((value >= 0).all()) and bool(torch.isfinite(value).all())
            else:
                good = isinstance(value, numbers.Real) and 0 <= float(value) < math.inf
            if not good:
                raise ValueError(
                    f"`{name}` must be a number of at least 0, or a tensor of such, got {value!r}. "
                    "Try 1e-4."
                )
        if not (isinstance(self.rtol, Tensor) or isinstance(self.atol, Tensor)):
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
        if not 0 <= self.dt_min <= self.dt_max:
            raise ValueError(
                f"`dt_min` must lie between 0 and dt_max = {self.dt_max}, got {self.dt_min}."
            )
        for name in ("step_points", "jump_points"):
            value = getattr(self, name)
            if not isinstance(value, Iterable):
                raise ValueError(f"`{name}` must hold times, got {value!r}. Try ({value!r},).")
            times = value.flatten().tolist() if isinstance(value, Tensor) else list(value)
            if not all(math.isfinite(t) for t in times):
                raise ValueError(f"`{name}` must be finite, got {times}.")
            object.__setattr__(self, name, tuple(sorted(float(t) for t in times)))
        if self.noise is not None and not 0 <= self.noise < 1:
            raise ValueError(f"`noise` must lie in [0, 1), got {self.noise}. Try 2**-9.")

    def start(
        self,
        f: Field,
        solver: AbstractSolver,
        t0: float,
        t1: float,
        y0: State,
        f0: State | None,
    ) -> Proposal:
        """First step: `dt0`, or the estimate of Hairer, Norsett, Wanner I, section II.4."""
        length = abs(t1 - t0)
        direction = math.copysign(1.0, t1 - t0)
        with torch.no_grad():
            size = y0.abs()
            if self.dt0 is not None:
                dt = self.dt0
            else:
                assert f0 is not None
                dt = self._first_step(f, solver, t0, length * direction, y0, f0, size)
        dt = min(max(dt, self.dt_min), self.dt_max, length)
        return Proposal(True, direction * dt, size=size)

    def _first_step(
        self,
        f: Field,
        solver: AbstractSolver,
        t0: float,
        span: float,
        y0: State,
        f0: State,
        size: State,
    ) -> float:
        scale = self._scale(size)
        d0, d1 = torch.stack([self.norm(y0 / scale), self.norm(f0 / scale)]).tolist()
        known = 1e-5 <= d0 < math.inf and 1e-5 <= d1 < math.inf
        h0 = 0.01 * d0 / d1 if known else 1e-6
        # At most half the way, so that rounding cannot carry the probe past t1.
        h0 = min(max(h0, 1e-10 * abs(span)), 0.5 * abs(span))
        probe = math.copysign(h0, span)
        f_probe = f(t0 + probe, torch.add(y0, f0, alpha=probe))
        d2 = float(self.norm((f_probe - f0) / scale)) / h0
        worst = max(d1, d2)
        if not (math.isfinite(d1) and math.isfinite(d2)):  # the first step says where
            return h0
        if worst <= 1e-15:
            return max(1e-6, 100 * h0)
        assert solver.embedded_order is not None
        h1 = (0.01 / worst) ** (1 / (solver.embedded_order + 1))
        return min(100 * h0, h1)

    def adapt(self, solver: AbstractSolver, step: Step, previous: Proposal) -> Proposal:
        """Judge a step by its error and propose the next one's length."""
        dt = step.t1 - step.t0
        if not step.converged:
            return self._failed(dt, math.nan, previous, previous.size)
        with torch.no_grad():
            measured, size0, size1, divisor = step.error_ratio, None, None, 1.0
            if measured is None:
                size0 = step.y0.abs() if previous.size is None else previous.size
                size1 = step.y1.abs()
                norm, divisor = split_norm(self.norm, step.y0)
                measured = norm(self._scaled(solver, step, torch.maximum(size0, size1)))
            # The one host read of an attempted step: the loop needs the verdict.
            ratio = float(measured) / (divisor * self._left_out)
        if not math.isfinite(ratio):
            return self._failed(dt, ratio, previous, size0)
        assert solver.embedded_order is not None
        accept = bool(ratio <= 1 or abs(dt) <= self._least)
        factor = self._factor(ratio, previous.history, solver.embedded_order + 1)
        if not accept:
            factor = min(factor, self.safety)
        elif not previous.accept:  # a step that just failed must not grow right away
            factor = min(factor, 1.0)
        factor = min(max(factor, self.min_factor), self.max_factor)
        length = min(max(abs(dt) * factor, self.dt_min), self.dt_max)
        history = (ratio, *previous.history[:1]) if accept else previous.history
        size = size1 if accept else size0
        return Proposal(accept, math.copysign(length, dt), ratio, history, size)

    def _failed(self, dt: float, ratio: float, previous: Proposal, size: State | None) -> Proposal:
        """After a step that gave no finite error."""
        shorter = abs(dt) * self.min_factor
        if abs(dt) > self._least:  # at dt_min itself the loop gives up
            shorter = max(shorter, self.dt_min)
        return Proposal(False, math.copysign(shorter, dt), ratio, previous.history, size)

    def measure(self, solver: AbstractSolver, step: Step) -> Scalar:
        """Norm of a step's error over the tolerance, times `_left_out`, as one graph."""
        size = torch.maximum(step.y0.abs(), step.y1.abs())
        return self.norm(self._scaled(solver, step, size))

    def scaled_error(self, solver: AbstractSolver, step: Step) -> State:
        """Local error estimate of a step in units of the tolerance, entry by entry."""
        with torch.no_grad():
            size = torch.maximum(step.y0.abs(), step.y1.abs())
            scaled = self._scaled(solver, step, size)
        return scaled / self._left_out

    def _scaled(self, solver: AbstractSolver, step: Step, size: State) -> State:
        """The error over the tolerance, times `_left_out`; overwrites `size`.

        Leaving it out saves an operation, as atol + rtol size = rtol (atol / rtol + size).
        """
        error = solver.error(step)
        noise = self.noise_level(step.y0)
        if noise > 0:
            slope = step.f0 if step.f0 is not None else (step.y1 - step.y0) / (step.t1 - step.t0)
            floor = _sample_rms(slope) * (noise * solver.noise_gain * abs(step.t1 - step.t0))
            size_of_error = _sample_rms(error).clamp_(min=torch.finfo(floor.dtype).tiny)
            # Sample by sample and not entry by entry, where outliers of the noise would count.
            error = error * (1 - floor / size_of_error).clamp_(min=0)
        rtol, atol = self.rtol, self.atol
        if isinstance(rtol, Tensor) or isinstance(atol, Tensor) or self._left_out == 1:
            return error / self._scale(size)
        if atol == 0:  # an entry that rests at 0 would be 0 / 0
            return error / size.clamp_(min=torch.finfo(size.dtype).tiny)
        return error / size.add_(_constant(atol / rtol, size))

    @property
    def _least(self) -> float:
        """Length up to which a step is one of dt_min: clocks round, and landing stretches."""
        return 1.01 * self.dt_min

    @property
    def _left_out(self) -> float:
        """What `_scaled` leaves to the caller to divide by: rtol where the norm scales with it."""
        numbers = not (isinstance(self.rtol, Tensor) or isinstance(self.atol, Tensor))
        scales = self.norm in (worst_sample_norm, rms_norm, max_norm)
        return float(self.rtol) if numbers and scales and self.rtol != 0 else 1.0

    def noise_level(self, y: State) -> float:
        """Relative rounding error of f on such a state."""
        if self.noise is not None:
            return self.noise
        kind = y.device.type
        if not torch.is_autocast_enabled(kind):
            return 0.0
        # Rounding to nearest is off by eps / 4 on average, but a field rounds more than once.
        return torch.finfo(torch.get_autocast_dtype(kind)).eps

    def _scale(self, size: State) -> State:
        """The tolerance atol + rtol size, entry by entry."""
        scale = size * self.rtol + self.atol
        return scale.clamp_(min=torch.finfo(scale.dtype).tiny)

    def _factor(self, ratio: float, history: tuple[float, ...], exponent: int) -> float:
        if ratio == 0:
            return self.max_factor
        p, i, d = self.proportional, self.integral, self.derivative
        if p == 0 == d:
            return self.safety * ratio ** (-i / exponent)
        one, two = (*history, 1.0, 1.0)[:2]
        b1, b2, b3 = (p + i + d) / exponent, -(p + 2 * d) / exponent, d / exponent
        return self.safety * ratio**-b1 * max(one, 1e-10) ** -b2 * max(two, 1e-10) ** -b3


@functools.lru_cache(maxsize=64)
def _kept(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.full((), value, dtype=dtype, device=device)


def _constant(value: float, like: Tensor) -> float | Tensor:
    """A number as a tensor that is made once: an eager operation takes it three times faster."""
    return _kept(value, like.dtype, like.device) if lasting(like) else value


def _sample_rms(x: State) -> Tensor:
    """Root mean square of each sample, of a shape that broadcasts against x."""
    dims = tuple(range(1, x.ndim)) if x.ndim > 1 else None
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True)
    return norm / max(x[0].numel() if x.ndim > 1 else x.numel(), 1) ** 0.5


FixedController = ConstantController | GridController
Controller = ConstantController | GridController | PIDController
