"""odesolve: check the input, then join term, solver, controller and gradient."""

import difflib
import math
import sys
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from odevision.gradient import GRADIENTS
from odevision.gradient.problem import Problem
from odevision.ode.controller import ConstantController, Controller, PIDController
from odevision.ode.methods import METHODS
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solution import Solution, Stats
from odevision.ode.term import ODETerm, bind_args
from odevision.types import Number, VectorField

Gradient = Literal["direct", "checkpointed"]
DEFAULT_RTOL, DEFAULT_ATOL = 1e-3, 1e-4
DEFAULT_MAX_STEPS = 10_000


def odesolve(
    vector_field: VectorField,
    y0: Tensor,
    t0: Number | Tensor,
    t1: Number | Tensor,
    *,
    args: Any = (),
    solver: str | ExplicitRungeKutta = "tsit5",
    num_steps: int | None = None,
    rtol: Number = DEFAULT_RTOL,
    atol: Number = DEFAULT_ATOL,
    gradient: Gradient = "checkpointed",
    save_at: Sequence[Number] | Tensor | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    controller: Controller | None = None,
) -> Solution:
    """Solve dy/dt = f(t, y) from y(t0) = y0 to t1.

    Args:
        vector_field: f, called as f(t, y), or f(t, y, *args) where args are given; t is a
            zero-dimensional tensor on y's device. It returns dy/dt of y's shape and dtype. It is
            never evaluated outside [t0, t1].
        y0: state at t0: a floating point or complex tensor of any shape. Where it has two or more
            dimensions the first one counts the samples.
        t0: start time.
        t1: end time; before t0 to integrate backward in time.
        args: arguments for f. A tuple is spread; anything else, or a tuple where f's third and last
            parameter is called `args`, is handed over whole.
        solver: a name that `list_solvers()` gives, or a solver object. The default, tsit5, needs
            the fewest evaluations at common tolerances.
        num_steps: take this many equal steps, without a look at their error: a state that became
            NaN is returned as it is. None adapts the steps to the tolerance, which needs a solver
            with an error estimate.
        rtol: relative tolerance of a step's error, for adaptive steps.
        atol: absolute tolerance of a step's error, in units of y, for adaptive steps.
        gradient: `checkpointed` keeps one state a step and recomputes each step on the way back;
            `direct` keeps every step's graph. Both are exact, the first needs far less memory.
        save_at: times to save, ordered from t0 to t1; None saves the end only. They are read off
            the method's interpolant and don't change the steps.
        max_steps: most attempted steps before the solve gives up.
        controller: a step size controller in place of num_steps, rtol and atol.

    Returns:
        Solution with ts (times,), ys (times, *y0.shape), y1 and stats.

    Raises:
        ValueError: an argument is out of its range; the message says what to try.
        SolveError: t1 could not be reached; names t, dt, the sample, the cause and a remedy.
    """
    refuse_changing_layers(vector_field)
    _check_state(y0)
    start, end = _time("t0", t0), _time("t1", t1)
    method = resolve_solver(solver)
    control = _controller(method, controller, num_steps, rtol, atol)
    if not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"`max_steps` must be a whole number of at least 1, got {max_steps!r}.")
    if isinstance(control, ConstantController) and control.num_steps > max_steps:
        raise ValueError(
            f"`num_steps` must be at most max_steps = {max_steps}, got {control.num_steps}. "
            "Try a larger `max_steps`."
        )
    times = _save_times(save_at, start, end)
    if gradient not in GRADIENTS:
        raise ValueError(unknown_name("gradient", gradient, GRADIENTS))
    stats = Stats()
    problem = Problem(
        vector_field=vector_field,
        args=args,
        term=ODETerm(bind_args(vector_field, args), stats),
        solver=method,
        controller=control,
        y0=y0,
        t0=start,
        t1=end,
        save_times=tuple(t for t in times if t != start),
        max_steps=max_steps,
    )
    y1, saved = GRADIENTS[gradient](problem) if start != end else (y0, [])
    ts = torch.tensor(times or (end,), dtype=y0.dtype.to_real(), device=y0.device)
    if not times:
        return Solution(ts, y1.unsqueeze(0), y1, stats)
    at_start = [y0] * (len(times) - len(saved))
    return Solution(ts, torch.stack([*at_start, *saved]), y1, stats)


def list_solvers() -> list[str]:
    """Names that `solver` takes, simplest first."""
    return list(METHODS)


def resolve_solver(solver: str | ExplicitRungeKutta) -> ExplicitRungeKutta:
    """The solver object of a name; an object passes through.

    Raises:
        ValueError: there is no solver of that name.
    """
    if isinstance(solver, ExplicitRungeKutta):
        return solver
    if solver not in METHODS:
        raise ValueError(unknown_name("solver", solver, METHODS))
    return ExplicitRungeKutta(METHODS[solver])


def unknown_name(what: str, given: object, known: Sequence[str] | dict[str, Any]) -> str:
    """Error text for a name that does not exist: the closest one, then all of them."""
    close = difflib.get_close_matches(str(given).lower(), list(known), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"`{what}` must be one of {', '.join(known)}, got {given!r}.{hint}"


def refuse_changing_layers(vector_field: VectorField) -> None:
    """A layer that answers differently each time would make f another function at every stage.

    Raises:
        ValueError: f is or holds a BatchNorm layer or a dropout layer in training mode.
    """
    if not isinstance(vector_field, nn.Module):
        return
    for name, module in vector_field.named_modules():
        batch_norm = isinstance(module, _BatchNorm) and (
            module.training or not module.track_running_stats
        )
        dropout = isinstance(module, _DropoutNd) and module.training and module.p > 0
        if batch_norm or dropout:
            remedy = "GroupNorm or LayerNorm" if batch_norm else "weight decay, or dropout after it"
            raise ValueError(
                f"`vector_field` must not hold {type(module).__name__} in training mode (at "
                f"{name!r}): f would change between the evaluations of one solve. Try {remedy}."
            )


def _check_state(y0: object) -> None:
    if not isinstance(y0, Tensor):
        raise ValueError(
            f"`y0` must be a tensor, got {type(y0).__name__}. Try torch.as_tensor(y0), or join "
            "several tensors into one with torch.cat."
        )
    if not (y0.is_floating_point() or y0.is_complex()):
        raise ValueError(f"`y0` must be floating point or complex, got {y0.dtype}. Try y0.float().")
    if y0.numel() == 0:
        raise ValueError(f"`y0` must hold at least one entry, got shape {tuple(y0.shape)}.")


def _time(name: str, value: Number | Tensor) -> float:
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise ValueError(
                f"`{name}` must not require a gradient: gradients to times are not supported yet. "
                f"Try {name}.detach()."
            )
        if value.numel() != 1:
            raise ValueError(f"`{name}` must be one number, got shape {tuple(value.shape)}.")
    time = float(value)
    if not math.isfinite(time):
        raise ValueError(f"`{name}` must be finite, got {time}.")
    return time


def _controller(
    solver: ExplicitRungeKutta,
    controller: Controller | None,
    num_steps: int | None,
    rtol: Number,
    atol: Number,
) -> Controller:
    if controller is None:
        if num_steps is not None:
            return ConstantController(num_steps=num_steps)
        controller = PIDController(rtol=rtol, atol=atol)
    elif not isinstance(controller, Controller):
        raise ValueError(
            f"`controller` must be a step size controller, got {controller!r}. Try PIDController()."
        )
    elif (num_steps, rtol, atol) != (None, DEFAULT_RTOL, DEFAULT_ATOL):
        raise ValueError(
            "`num_steps`, `rtol` and `atol` must be left out where a `controller` is given, got "
            f"{num_steps}, {rtol} and {atol}. Try to set them on the controller."
        )
    if controller.adaptive and not solver.adaptive:
        raise ValueError(
            f"`num_steps` must be given with solver {solver.name!r}: it has no error estimate to "
            "adapt the steps by. Try num_steps=4, or solver='tsit5'."
        )
    return controller


def _save_times(
    save_at: Sequence[Number] | Tensor | None, t0: float, t1: float
) -> tuple[float, ...]:
    if save_at is None:
        return ()
    precision = sys.float_info.epsilon
    if isinstance(save_at, Tensor):
        if save_at.requires_grad:
            raise ValueError(
                "`save_at` must not require a gradient: gradients to times are not supported yet. "
                "Try save_at.detach()."
            )
        if save_at.is_floating_point():
            precision = torch.finfo(save_at.dtype).eps
        save_at = save_at.flatten().tolist()
    # A rounded t0 or t1, as in a float32 linspace, is still meant as t0 or t1.
    slack = 2 * precision * max(abs(t0), abs(t1))
    times = tuple(
        next((e for e in (t0, t1) if abs(t - e) <= slack), t) for t in map(float, save_at)
    )
    low, high = min(t0, t1), max(t0, t1)
    if not times or not all(low <= t <= high for t in times):
        raise ValueError(
            f"`save_at` must hold times between t0 = {t0} and t1 = {t1}, got {list(times)}."
        )
    if list(times) != sorted(times, reverse=t1 < t0):
        raise ValueError(f"`save_at` must be ordered from t0 to t1, got {list(times)}.")
    return times
