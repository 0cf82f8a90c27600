"""odeint_event: solve until an event, with gradients to its time."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from odevision.compat.torchdiffeq.flat import FlatState
from odevision.compat.torchdiffeq.forward import odeint
from odevision.compat.torchdiffeq.inputs import field_of, layout_of
from odevision.ode.event import attach_root_gradient
from odevision.ode.tracing import recording
from odevision.types import State


def odeint_event(
    func: Callable[..., Any],
    y0: Tensor | Sequence[Tensor],
    t0: Tensor,
    *,
    event_fn: Callable[..., Tensor],
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint,
    **kwargs: Any,
) -> Any:
    """Solve from t0 until an entry of event_fn(t, y) changes its sign.

    Gradients flow through the event's time and state to y0, t0, what func uses and what event_fn
    uses. They are of first order: a second differentiation says so.

    Args:
        func: as in `odeint`.
        y0: the state at t0.
        t0: start time, a tensor with one entry.
        event_fn: called as event_fn(t, y); returns one or several numbers.
        reverse_time: solve backward in time.
        odeint_interface: `odeint`, `odeint_adjoint`, or a function with their arguments.
        **kwargs: further arguments of that function.

    Returns:
        The event's time, shape (), and y at t0 and at the event, shape (2, *y0.shape); a tuple of
        such for a tuple.

    Raises:
        ValueError: an argument is out of its range.
        SolveError: the solve failed, or the event never comes.
    """
    if not isinstance(t0, Tensor) or t0.numel() != 1:
        raise ValueError("`t0` must be a tensor with one entry. Try torch.tensor(0.0).")
    start = t0.reshape(1)
    t = torch.cat([start, start.detach() + (-1.0 if reverse_time else 1.0)])
    event_t, solution = odeint_interface(func, y0, t, event_fn=event_fn, **kwargs)
    if not recording():
        return event_t, solution
    flat = layout_of(y0)
    real = (solution if flat is None else solution[0]).dtype.to_real()
    with torch.no_grad():
        signs = torch.sign(event_fn(start[0].to(real), y0))

    def event(t: Tensor, y: State) -> Tensor:
        return torch.min(event_fn(t, y if flat is None else flat.unpack(y)) * signs)

    last = solution[-1] if flat is None else flat.pack([part[-1] for part in solution])
    field = field_of(func, flat)
    moved_t, moved = attach_root_gradient(event, field, event_t.detach(), last)
    return moved_t, _with_end(solution, moved, flat)


def _with_end(solution: Any, end: State, flat: FlatState | None) -> Any:
    if flat is None:
        return torch.cat([solution[:-1], end.unsqueeze(0)])
    parts = zip(solution, flat.unpack(end), strict=True)
    return tuple(torch.cat([part[:-1], last.unsqueeze(0)]) for part, last in parts)
