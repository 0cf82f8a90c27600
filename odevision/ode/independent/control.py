"""Step size control with one step size a row: the rules of PIDController, on tensors.

Nothing here waits for the device. The arithmetic is that of the controller for a common clock, so
that a sample takes the steps that it would take alone.
"""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from odevision.ode.controller import PIDController
from odevision.ode.norm import rms_norm, worst_sample_norm
from odevision.ode.solver import AbstractSolver, Step
from odevision.types import Number, State

PerRow = Float[Tensor, " rows"]
"""One number a row, in the precision of the clock."""

Tolerances = tuple[Number | Tensor, Number | Tensor]
"""rtol and atol: numbers, or tensors that broadcast against the rows of the state."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What becomes of each row's attempted step.

    Attributes:
        accept: whether it counts.
        dt: length of the next step, positive.
        cap: most that the next step may make the one after it grow, a factor.
        history: errors of the last two accepted steps in units of the tolerance, shape (rows, 2);
            None where the controller does not look at them.
    """

    accept: Bool[Tensor, " rows"]
    dt: PerRow
    cap: PerRow
    history: Tensor | None = None


def judge(
    controller: PIDController,
    order: int,
    ratio: PerRow,
    blamed: Bool[Tensor, " rows"] | None,
    dt: PerRow,
    cap: PerRow,
    history: Tensor | None,
) -> Verdict:
    """Judge attempted steps by their errors and propose the lengths of the next ones.

    Args:
        controller: the settings.
        order: q, that of the embedded solution.
        ratio: errors in units of the tolerance; NaN where a step could not be made.
        blamed: the rows that made an implicit step fail for all of them, where one did; others
            keep their length.
        dt: lengths of the attempted steps, positive.
        cap: as in `Verdict`.
        history: as in `Verdict`.
    """
    ratio = torch.nan_to_num(ratio, nan=torch.inf, posinf=torch.inf)
    accept = ratio <= 1
    if controller.dt_min > 0:
        accept = accept | ((ratio < torch.inf) & (dt <= least_step(controller)))
    b1, b2, b3 = _exponents(controller, order)
    factor = controller.safety * ratio**-b1  # 0 for an infinite error
    if history is not None:
        floor = history.clamp(min=1e-10)
        factor = factor * floor[:, 0] ** -b2 * floor[:, 1] ** -b3
        errors = torch.stack([ratio, history[:, 0]], 1)
        history = torch.where(accept[:, None], errors, history)
    if b1 <= 0 or history is not None:
        factor = torch.where(ratio == 0, controller.max_factor, factor)
    # A step that just failed must not grow right away: cap is 1 then.
    factor = torch.minimum(factor, torch.where(accept, cap, controller.safety))
    factor = factor.clamp_(min=controller.min_factor)
    one = dt.new_ones(())
    if blamed is not None:
        factor = torch.where(blamed, controller.min_factor, one)
    length = (dt * factor).clamp_(controller.dt_min, controller.dt_max)
    return Verdict(accept, length, torch.where(accept, controller.max_factor, one), history)


def resume(planned: PerRow, taken: PerRow, proposed: PerRow) -> PerRow:
    """Next lengths: a step that was shortened only to land says little about what is possible."""
    return torch.where(taken < 0.99 * planned, torch.maximum(planned, proposed), proposed)


def least_step(controller: PIDController) -> float:
    """Length up to which a step is one of dt_min: the clock rounds, and landing stretches steps."""
    return 1.01 * controller.dt_min


def error_ratio(
    controller: PIDController, solver: AbstractSolver, step: Step, tolerances: Tolerances
) -> Float[Tensor, " rows"]:
    """Error of each row's step in units of the tolerance, in the precision of the state."""
    error = solver.error(step)
    noise = controller.noise_level(step.y0)
    if noise > 0:
        assert step.f0 is not None
        floor = _rms(step.f0, keepdim=True) * (noise * solver.noise_gain)
        size_of_error = _rms(error, keepdim=True).clamp_(min=torch.finfo(floor.dtype).tiny)
        error = error * (1 - floor / size_of_error).clamp_(min=0)
    size = torch.maximum(step.y0.abs(), step.y1.abs())
    return sample_norm(controller.norm, error / _scale(tolerances, size))


def first_steps(
    controller: PIDController,
    order: int,
    probe: Callable[[PerRow], State],
    span: PerRow,
    y0: State,
    f0: State,
    tolerances: Tolerances,
) -> PerRow:
    """First steps: `dt0`, or the estimate of Hairer, Norsett, Wanner I, section II.4.

    Args:
        controller: the settings.
        order: q, that of the embedded solution.
        probe: from lengths h to the slopes after an Euler step of that length; called at most once.
        span: length of each row's way.
        y0: states at the start, one a row.
        f0: slopes there.
        tolerances: rtol and atol for these rows.
    """
    if controller.dt0 is not None:
        dt = torch.full_like(span, controller.dt0)
    else:
        scale = _scale(tolerances, y0.abs())
        norm = lambda x: sample_norm(controller.norm, x / scale).to(span.dtype)
        d0, d1 = norm(y0), norm(f0)
        usual = (d0 >= 1e-5) & (d1 >= 1e-5) & torch.isfinite(d0) & torch.isfinite(d1)
        h0 = torch.where(usual, 0.01 * d0 / d1, 1e-6)
        h0 = torch.minimum(torch.maximum(h0, 1e-10 * span), 0.5 * span)
        d2 = norm(probe(h0) - f0) / h0
        worst = torch.maximum(d1, d2)
        dt = torch.minimum(100 * h0, (0.01 / worst) ** (1 / (order + 1)))
        dt = torch.where(worst <= 1e-15, (100 * h0).clamp(min=1e-6), dt)
        dt = torch.where(torch.isfinite(worst), dt, h0)
    return torch.minimum(dt.clamp(controller.dt_min, controller.dt_max), span)


def sample_norm(norm: Callable[[Tensor], Tensor], x: State) -> Float[Tensor, " rows"]:
    """The norm of each row, which a norm of the user's receives as a batch of one sample."""
    if norm in (worst_sample_norm, rms_norm):
        return _rms(x).reshape(-1)
    return torch.vmap(norm)(x.unsqueeze(1)).reshape(-1)


def select_tolerances(controller: PIDController, shape: torch.Size, samples: Tensor) -> Tolerances:
    """The tolerances of some samples of a state of this shape."""

    def select(x: Number | Tensor) -> Number | Tensor:
        if isinstance(x, Tensor) and x.ndim == len(shape) and x.shape[0] == shape[0]:
            return x.index_select(0, samples)
        return x  # broadcasts along the samples

    return select(controller.rtol), select(controller.atol)


def _rms(x: State, keepdim: bool = False) -> Tensor:
    """Root mean square of each row."""
    if x.ndim == 1:
        return x.abs()
    norm = torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=keepdim)
    return norm / max(x.shape[1:].numel(), 1) ** 0.5


def _scale(tolerances: Tolerances, size: State) -> State:
    """The tolerance atol + rtol size, entry by entry; overwrites `size`."""
    rtol, atol = tolerances
    scale = size * rtol if isinstance(rtol, Tensor) else size.mul_(rtol)
    scale = scale + atol if isinstance(atol, Tensor) else scale.add_(atol)
    if isinstance(atol, Tensor) or atol == 0:  # an entry that rests at 0 would be 0 / 0
        scale = scale.clamp_(min=torch.finfo(scale.dtype).tiny)
    return scale


def _exponents(controller: PIDController, order: int) -> tuple[float, float, float]:
    p, i, d = controller.proportional, controller.integral, controller.derivative
    q = order + 1
    return (p + i + d) / q, -(p + 2 * d) / q, d / q
