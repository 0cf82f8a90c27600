"""Read the arguments of odesolve: what they mean, or a clear error."""

import difflib
import functools
import math
import numbers
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.utils import _pytree as pytree

from odevision.gradient import GRADIENTS, AbstractGradient
from odevision.ode.clock import clock_dtype
from odevision.ode.compiled import CompiledRungeKutta
from odevision.ode.controller import ConstantController, Controller, PIDController
from odevision.ode.event import Event
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solver import AbstractSolver
from odevision.ode.solvers import SOLVERS
from odevision.ode.state import StateLayout
from odevision.ode.tracing import mapped, tracked, transformed
from odevision.types import Number, State, VectorField

Gradient = Literal["direct", "checkpointed", "reversible", "backsolve", "auto"] | AbstractGradient
"""A gradient by name or as an object."""
DEFAULT_RTOL, DEFAULT_ATOL = 1e-3, 1e-4


def list_solvers() -> list[str]:
    """Names that `solver` takes, simplest first."""
    return list(SOLVERS)


def resolve_solver(solver: str | AbstractSolver) -> AbstractSolver:
    """The solver object of a name; an object passes through.

    Raises:
        ValueError: there is no solver of that name.
    """
    if isinstance(solver, AbstractSolver):
        return solver
    if not isinstance(solver, str) or solver not in SOLVERS:
        raise ValueError(unknown_name("solver", solver, SOLVERS))
    return SOLVERS[solver]


def list_gradients() -> list[str]:
    """Names that `gradient` takes."""
    return list(GRADIENTS)


def resolve_gradient(gradient: str | AbstractGradient) -> AbstractGradient:
    """The gradient object of a name; an object passes through.

    Raises:
        ValueError: there is no gradient of that name.
    """
    if isinstance(gradient, AbstractGradient):
        return gradient
    if not isinstance(gradient, str) or gradient not in GRADIENTS:
        raise ValueError(unknown_name("gradient", gradient, GRADIENTS))
    return GRADIENTS[gradient]


def unknown_name(what: str, given: object, known: Sequence[str] | dict[str, Any]) -> str:
    """Error text for a name that does not exist: the closest one, then all of them."""
    close = difflib.get_close_matches(str(given).lower(), list(known), n=2)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"`{what}` must be one of {', '.join(known)}, got {given!r}.{hint}"


def refuse_changing_layers(vector_field: VectorField) -> None:
    """A layer that answers differently each time would make f another function at every stage.

    Raises:
        ValueError: f is, holds or is a method of a module with BatchNorm, dropout, RReLU or
            spectral_norm in training mode.
    """
    vector_field = getattr(vector_field, "__self__", vector_field)
    if not isinstance(vector_field, nn.Module):
        return
    for name, module in vector_field.named_modules():
        batch_norm = isinstance(module, _BatchNorm) and (
            module.training or not module.track_running_stats
        )
        remedy = "GroupNorm or LayerNorm" if batch_norm else _remedy(module)
        if remedy:
            raise ValueError(
                f"`vector_field` must not hold {type(module).__name__} in training mode (at "
                f"{name!r}): f would change between the evaluations of one solve. Try {remedy}."
            )


def _remedy(module: nn.Module) -> str:
    """What to take in place of a layer that draws or learns at every evaluation; "" for others."""
    if not module.training:
        return ""
    rate = module.p if isinstance(module, _DropoutNd) else 0
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        rate = module.dropout
    if rate > 0:
        return "weight decay, or dropout after it"
    if isinstance(module, nn.RReLU):
        return "LeakyReLU"
    return "weight_norm" if isinstance(module, _SpectralNorm) else ""


_NOT_MAPPED = (
    "`{}` must be the same for all samples under torch.func.vmap. Try batch='independent' in place "
    "of vmap, with the samples in dimension 0 of y0."
)


def check_state(y0: Tensor) -> State:
    """The state, if it can be advanced.

    Raises:
        ValueError: it is not floating point or complex, or empty.
    """
    if not (y0.is_floating_point() or y0.is_complex()):
        raise ValueError(f"`y0` must be floating point or complex, got {y0.dtype}. Try y0.float().")
    if y0.numel() == 0:
        raise ValueError(f"`y0` must hold at least one entry, got shape {tuple(y0.shape)}.")
    return y0


def read_time(name: str, value: Number | Tensor) -> float:
    """One time as a number.

    Raises:
        ValueError: it is not one finite number.
    """
    if not hasattr(value, "__float__"):
        raise ValueError(f"`{name}` must be a number, got {value!r}.")
    count = value.numel() if isinstance(value, Tensor) else getattr(value, "size", 1)
    if count != 1:  # of a tensor, or an array
        raise ValueError(
            f"`{name}` must be one number, got {count}. Try "
            "batch='independent' and a tensor of shape (batch,) where each sample has its own."
        )
    if mapped(value):
        raise ValueError(_NOT_MAPPED.format(name))
    if isinstance(value, Tensor):
        value = value.detach()
    elif hasattr(value, "item"):  # an array with one entry, whatever its dimensions
        value = value.item()  # pyright: ignore[reportAttributeAccessIssue]
    time = float(value)
    if not math.isfinite(time):
        raise ValueError(f"`{name}` must be finite, got {time}.")
    return time


def time_dtype(y0: State, t0: object, t1: object) -> torch.dtype:
    """That of the times of a solution: the state's, or that of t0 or t1 where it is more precise.

    A device that cannot hold it has the most precise one it can.

    Args:
        y0: the state.
        t0: as the user gave it.
        t1: likewise.
    """
    dtype = y0.real.dtype
    for time in (t0, t1):
        if isinstance(time, Tensor) and time.is_floating_point():
            dtype = torch.promote_types(dtype, time.dtype)
    return min(dtype, clock_dtype(y0.device), key=lambda dtype: dtype.itemsize)


def refuse_mapped(
    solver: AbstractSolver,
    controller: Controller,
    events: Sequence[Event],
    vector_field: VectorField,
    inputs: Any,
) -> None:
    """Under vmap no sample can have accepted steps of its own, and none can be read by the host.

    Args:
        solver: makes the steps.
        controller: chooses the steps.
        events: what to look for.
        vector_field: f; a module's parameters may be mapped over.
        inputs: nested tensors that enter the solve beside them.

    Raises:
        ValueError: the steps are adaptive, or found by an iteration, or events are looked for, and
            an input is mapped over.
    """
    if controller.adaptive:
        what = "`num_steps` must be given"
    elif solver.iterates:
        what = "`solver` must be an explicit method"
    elif events:
        what = "`event` must be left out"
    else:
        return
    if not transformed():
        return
    held = vector_field.parameters() if isinstance(vector_field, nn.Module) else ()
    if any(map(mapped, (*held, *pytree.tree_leaves(inputs)))):
        raise ValueError(
            f"{what} under torch.func.vmap: each sample would go its own way. Try solver='rk4', "
            "num_steps=4 and no event, or batch='independent' in place of vmap, with the samples "
            "in dimension 0 of y0."
        )


def read_controller(
    solver: AbstractSolver,
    controller: Controller | None,
    num_steps: int | None,
    rtol: Number | Tensor,
    atol: Number | Tensor,
    max_steps: int,
) -> Controller:
    """The controller that these settings mean.

    Raises:
        ValueError: the settings contradict one another, or do not suit the solver.
    """
    if not isinstance(max_steps, numbers.Integral) or max_steps < 1:
        raise ValueError(f"`max_steps` must be a whole number of at least 1, got {max_steps!r}.")
    if controller is None:
        if num_steps is not None:
            controller = ConstantController(num_steps=num_steps)
        else:
            controller = PIDController(rtol=rtol, atol=atol)
    elif not isinstance(controller, Controller):
        raise ValueError(
            f"`controller` must be a step size controller, got {controller!r}. Try PIDController()."
        )
    elif num_steps is not None or rtol is not DEFAULT_RTOL or atol is not DEFAULT_ATOL:
        raise ValueError(
            "`num_steps`, `rtol` and `atol` must be left out where a `controller` is given, got "
            f"{num_steps}, {rtol} and {atol}. Try to set them on the controller."
        )
    if isinstance(controller, ConstantController) and controller.num_steps > max_steps:
        raise ValueError(
            f"`num_steps` must be at most max_steps = {max_steps}, got {controller.num_steps}. "
            "Try a larger `max_steps`."
        )
    if controller.adaptive and not solver.adaptive:
        raise ValueError(
            f"`num_steps` must be given with solver {solver.name!r}: it has no error estimate to "
            "adapt the steps by. Try num_steps=4, or solver='tsit5'."
        )
    return controller


def compiled(
    solver: AbstractSolver,
    controller: Controller,
    vector_field: VectorField,
    layout: StateLayout | None,
    ends: tuple[object, object],
    keeps_stages: bool,
) -> CompiledRungeKutta:
    """The solver with its steps compiled.

    Raises:
        ValueError: it is none that can be, or gradients of t0 or t1 are asked for.
    """
    if not isinstance(solver, ExplicitRungeKutta):
        raise ValueError(
            "`compile` must go with an explicit Runge-Kutta method such as 'dopri5', and not with "
            f"gradient='reversible', got {solver.name!r}. Try compile=False, and "
            "vector_field.compile() where that is a module."
        )
    if ends != (None, None):
        raise ValueError(
            "`compile` must be False where t0 or t1 requires a gradient. Try .detach() on them."
        )
    return CompiledRungeKutta(solver, vector_field, layout, controller, keeps_stages)


def stack_times(save_at: Any) -> Any:
    """Times that are numbers and tensors, of which some want a gradient, as one tensor.

    Args:
        save_at: as the user gave it.
    """
    if not (isinstance(save_at, list | tuple) and any(map(tracked, save_at))):
        return save_at
    dtypes = [t.dtype for t in save_at if isinstance(t, Tensor)]
    dtype = functools.reduce(torch.promote_types, dtypes)
    given = [torch.as_tensor(t, dtype=dtype, device="cpu") for t in save_at]
    return torch.stack([t.reshape(()) for t in given])


def read_save_times(
    save_at: Sequence[Number | Tensor] | Tensor | None, t0: float, t1: float, slack: float
) -> tuple[float, ...]:
    """The times to save, in the order of integration; none where none are asked for.

    Args:
        save_at: as the user gave it.
        t0: start time.
        t1: end time.
        slack: from `save_slack`.

    Raises:
        ValueError: one lies outside [t0, t1], or they are not ordered.
    """
    if save_at is None:
        return ()
    if not isinstance(save_at, Iterable):
        raise ValueError(f"`save_at` must hold times, got {save_at!r}. Try [{save_at!r}].")
    if mapped(save_at):
        raise ValueError(_NOT_MAPPED.format("save_at"))
    if getattr(save_at, "ndim", 1) > 1:
        shape = tuple(save_at.shape)  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            f"`save_at` must be of shape (times,), got {shape}. Try batch='independent' where each "
            "sample has times of its own."
        )
    if hasattr(save_at, "flatten"):  # a tensor or an array, with or without a dimension
        save_at = save_at.flatten().tolist()  # pyright: ignore[reportAttributeAccessIssue]
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


def save_slack(given: Iterable[object], t0: float, t1: float) -> float:
    """Rounding of the times to save: as in a float32 linspace, a rounded t1 is meant as t1.

    Args:
        given: save_at, t0 and t1 as the user gave them; the least precise tensor counts.
        t0: start time.
        t1: end time.
    """
    return 2 * precision_of(given) * max(abs(t0), abs(t1))


def precision_of(given: Iterable[object]) -> float:
    """Relative rounding of times: that of the least precise tensor among them."""
    tensors = (x for x in given if isinstance(x, Tensor) and x.is_floating_point())
    return max((torch.finfo(x.dtype).eps for x in tensors), default=sys.float_info.epsilon)


def read_events(event: Event | Sequence[Event] | None) -> tuple[Event, ...]:
    """The events as a tuple.

    Raises:
        ValueError: something else than events was given.
    """
    if event is None:
        return ()
    events: tuple[Any, ...] = tuple(event) if isinstance(event, list | tuple) else (event,)
    for one in events:
        if not isinstance(one, Event):
            raise ValueError(
                f"`event` must be an Event, or several, got {type(one).__name__}. Try "
                "odevision.Event(function)."
            )
    return events
