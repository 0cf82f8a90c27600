"""Events: the time at which a function of the solution first changes its sign."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from odevision.compat.torchdiffeq.adaptive import controller, max_steps
from odevision.compat.torchdiffeq.fixed_grid import check_interp, step_size
from odevision.compat.torchdiffeq.inputs import Inputs
from odevision.compat.torchdiffeq.methods import ADAPTIVE, SCIPY
from odevision.compat.torchdiffeq.steppers import stepper
from odevision.ode.controller import Controller, GridController
from odevision.ode.event import Event
from odevision.ode.solution import Result, Solution, SolveError, Stats
from odevision.ode.tracing import records
from odevision.solve import odesolve
from odevision.types import Scalar, State

MOST_FIXED_STEPS = 20_000  # torchdiffeq's
_FIRST_FIXED_STEPS = 500
_FAR = 1e300

EventFunction = Callable[[Tensor, State], Tensor]


def combine_events(event_fn: Callable[..., Tensor], inputs: Inputs) -> EventFunction:
    """One number of shape () that is positive at t[0] and crosses zero with the first entry.

    Raises:
        ValueError: there are not two times.
    """
    if len(inputs.t) != 2:
        raise ValueError(
            f"`t` must hold two times where `event_fn` is given, got {len(inputs.t)}. Try "
            "torch.stack([t0, t0 + 1])."
        )
    with torch.no_grad():
        start = inputs.t[0].to(inputs.y0.dtype.to_real())
        signs = torch.sign(event_fn(start, inputs.unpack(inputs.y0)))
    return lambda t, y: torch.min(event_fn(t, inputs.unpack(y)) * signs)


def find_event(inputs: Inputs, event: EventFunction) -> tuple[Scalar, State, Stats]:
    """Solve until the event, however far away it is.

    Returns:
        Its time, shape () and without a gradient; y at t[0] and at that time, shape
        (2, *y0.shape), with the gradients that y has at a fixed time; what it cost.

    Raises:
        ValueError: the method or its options cannot look for events.
        SolveError: a solve failed, or the event never comes.
    """
    if inputs.method == SCIPY:
        raise ValueError(f"`method` must not be {SCIPY!r} where `event_fn` is given. Try 'dopri5'.")
    stats = Stats()
    y0 = _from_moving_start(inputs, stats)
    with torch.no_grad():
        if float(event(inputs.t[0].to(y0.dtype.to_real()), y0)) == 0:
            return inputs.t[0].detach(), torch.stack([inputs.y0, y0]), stats

    def value(t: Tensor, y: State) -> Tensor:
        with torch.no_grad():
            return event(t, y)

    search = _search_adaptively if inputs.method in ADAPTIVE else _search_on_grid
    solution = search(inputs, y0, Event(value), stats)
    assert solution.t1 is not None
    return solution.t1.to(inputs.t), torch.stack([inputs.y0, solution.y1]), stats


def _search_adaptively(inputs: Inputs, y: State, event: Event, stats: Stats) -> Solution:
    """Solve stretch after stretch, each twice as long: no end of the solve is known."""
    start, second = inputs.times
    length, first_step = second - start, None
    most = max_steps(inputs.options)
    while abs(start) + abs(length) < _FAR and stats.num_steps < most:
        left = most - stats.num_steps
        steps = controller(inputs, first_step)
        try:
            solution = _until(inputs, y, start, start + length, steps, event, left)
        except SolveError as error:
            if error.result is Result.MAX_STEPS:
                raise _no_event(error.t, most) from error
            raise
        _add(stats, solution.stats)
        if solution.result is Result.EVENT:
            return solution
        start, y, first_step = start + length, solution.y1, solution.stats.dt_last
        length *= 2
    raise _no_event(start, stats.num_steps)


def _search_on_grid(inputs: Inputs, y: State, event: Event, stats: Stats) -> Solution:
    check_interp(inputs.options)
    if inputs.options.get("step_size") is None:
        raise ValueError(
            f"option `step_size` must be given for method {inputs.method!r} where `event_fn` is: "
            "no grid of times ends at the event. Try options={'step_size': 0.01}."
        )
    start, second = inputs.times
    dt = math.copysign(step_size(inputs.options), second - start)
    done, count = 0, _FIRST_FIXED_STEPS
    while done < MOST_FIXED_STEPS:
        # Most events come soon: a grid of all steps would cost more than the solve.
        nodes = [start + i * dt for i in range(done, min(done + count, MOST_FIXED_STEPS) + 1)]
        steps = GridController(times=nodes)
        solution = _until(inputs, y, nodes[0], nodes[-1], steps, event, count)
        _add(stats, solution.stats)
        if solution.result is Result.EVENT:
            return solution
        y, done, count = solution.y1, done + len(nodes) - 1, 2 * count
    raise _no_event(start + done * dt, done)


def _until(
    inputs: Inputs,
    y: State,
    start: float,
    end: float,
    steps: Controller,
    event: Event,
    most: int,
) -> Solution:
    # As tensors, so that the root's time comes as precise.
    t0, t1 = (torch.tensor(t, dtype=torch.float64) for t in (start, end))
    return odesolve(
        inputs.field,
        y,
        t0,
        t1,
        solver=stepper(inputs),
        controller=steps,
        gradient="direct",
        event=event,
        max_steps=most,
        observer=inputs.callbacks or None,
    )


def _from_moving_start(inputs: Inputs, stats: Stats) -> State:
    """The initial state, which a solve from a fixed t[0] passes through where t[0] moves.

    y(t; t0, y0) moves with t0 as with y0 at the rate -f(t0, y0).
    """
    t0 = inputs.t[0]
    if not records(t0):
        return inputs.y0
    real = inputs.y0.dtype.to_real()
    with torch.no_grad():
        slope = inputs.field(t0.to(real), inputs.y0)
    stats.nfe_forward += 1
    return inputs.y0 - slope * (t0 - t0.detach()).to(real)


def _add(total: Stats, part: Stats) -> None:
    total.nfe_forward += part.nfe_forward
    total.num_steps += part.num_steps
    total.num_accepted_steps += part.num_accepted_steps
    total.num_rejected_steps += part.num_rejected_steps
    total.dt_first = total.dt_first or part.dt_first
    total.dt_last = part.dt_last


def _no_event(t: float, num_steps: int) -> SolveError:
    cause = f"`event_fn` kept its sign for {num_steps} steps: the solve found no event to end at"
    return SolveError(Result.NO_EVENT, cause, t=t, dt=None, sample=None)
