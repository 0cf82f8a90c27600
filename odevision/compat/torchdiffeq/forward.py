"""odeint: a call of torchdiffeq's main function, handed to the engine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from odevision.compat.torchdiffeq.adaptive import solve_adaptive
from odevision.compat.torchdiffeq.fixed_grid import solve_on_grid
from odevision.compat.torchdiffeq.inputs import Inputs, read_inputs
from odevision.compat.torchdiffeq.methods import ADAPTIVE, SCIPY
from odevision.compat.torchdiffeq.roots import combine_events, find_event
from odevision.compat.torchdiffeq.statistics import remember
from odevision.ode.solution import Stats
from odevision.types import State


def odeint(
    func: Callable[..., Any],
    y0: Tensor | Sequence[Tensor],
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[..., Tensor] | None = None,
) -> Any:
    """Solve dy/dt = func(t, y) from y(t[0]) = y0 and return y at all times.

    Gradients are exact and flow to y0, t and whatever func uses; memory grows with the steps.
    They can be differentiated again, but for implicit methods.

    Args:
        func: the vector field, called as func(t, y) with t of shape ().
        y0: the state at t[0], a tensor of any shape, or a tuple of tensors, which func then gets
            and returns.
        t: times, shape (times,), strictly increasing or decreasing.
        rtol: relative tolerance of a step's error: a number, a tensor that broadcasts with y0, or
            one for each tensor of a tuple.
        atol: absolute tolerance, in units of y, in the same forms.
        method: one of torchdiffeq's names; dopri5 where None.
        options: what the method takes beside tolerances, by name.
        event_fn: called as event_fn(t, y). The solve ends where one of its entries changes sign
            against its sign at t[0]; t holds two times then, and the second only says whether time
            runs forward or backward.

    Returns:
        y of shape (times, *y0.shape), a tuple of such for a tuple. With `event_fn` the pair of the
        event's time, of shape (), and y at t[0] and at the event. That time carries no gradient;
        `odeint_event` adds it.

    Raises:
        ValueError: an argument is out of its range.
        TypeError: an argument is of another kind.
        SolveError: the solve could not reach the last time.
    """
    inputs = read_inputs(func, y0, t, rtol=rtol, atol=atol, method=method, options=options)
    if event_fn is None:
        ys, stats = solve(inputs)
        remember(stats)
        return inputs.unpack(ys)
    event_t, ys, stats = find_event(inputs, combine_events(event_fn, inputs))
    remember(stats)
    return event_t, inputs.unpack(ys)


def solve(inputs: Inputs) -> tuple[State, Stats]:
    """States at the times, shape (times, *y0.shape), and what they cost."""
    if len(inputs.t) == 1:
        return inputs.y0.unsqueeze(0).clone(), Stats()
    if inputs.method in ADAPTIVE:
        return solve_adaptive(inputs)
    if inputs.method == SCIPY:
        # SciPy is imported by those who ask for it.
        from odevision.compat.torchdiffeq.scipy_solver import solve_with_scipy

        return solve_with_scipy(inputs)
    return solve_on_grid(inputs)
