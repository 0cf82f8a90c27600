"""odesolve: join term, solver, controller and gradient, and solve."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from odevision.gradient import Direct
from odevision.gradient.problem import Problem
from odevision.ode.compiled_solve import fits_one_graph
from odevision.ode.controller import Controller
from odevision.ode.event import Event, EventWatch, first_order, refuse_unordered
from odevision.ode.loop import Observer, Trajectory, Wanted
from odevision.ode.per_sample import select_samples
from odevision.ode.solution import Solution, Stats
from odevision.ode.solver import AbstractSolver
from odevision.ode.state import StateLayout
from odevision.ode.tracing import tracked
from odevision.solve.answer import answer
from odevision.solve.checks import (
    DEFAULT_ATOL,
    DEFAULT_RTOL,
    Gradient,
    check_state,
    compiled,
    read_controller,
    read_events,
    read_save_times,
    read_time,
    refuse_changing_layers,
    refuse_mapped,
    resolve_gradient,
    resolve_solver,
    save_slack,
    stack_times,
    time_dtype,
    unknown_name,
)
from odevision.solve.independent import odesolve_independent
from odevision.types import Number, State, VectorField

DEFAULT_MAX_STEPS = 10_000


def odesolve(
    vector_field: VectorField,
    y0: Any,
    t0: Number | Tensor,
    t1: Number | Tensor,
    *,
    args: Any = (),
    solver: str | AbstractSolver = "tsit5",
    num_steps: int | None = None,
    rtol: Number | Tensor = DEFAULT_RTOL,
    atol: Number | Tensor = DEFAULT_ATOL,
    gradient: Gradient = "checkpointed",
    save_at: Sequence[Number | Tensor] | Tensor | Literal["steps"] | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    controller: Controller | None = None,
    batch: Literal["joint", "independent"] = "joint",
    dense: bool = False,
    event: Event | Sequence[Event] | None = None,
    throw: bool = True,
    observer: Observer | None = None,
    compile: bool = False,
) -> Solution:
    """Solve dy/dt = f(t, y) from y(t0) = y0 to t1.

    Args:
        vector_field: f, called as f(t, y), or f(t, y, *args) where args are given; t is a
            zero-dimensional tensor on y's device. It returns dy/dt, shaped and nested like y. It is
            never evaluated outside [t0, t1].
        y0: state at t0: a floating point or complex tensor of any shape, or a tuple, list or dict
            of such tensors, nested or not. Where all of them share dimension 0 and one has two or
            more dimensions, dimension 0 counts the samples.
        t0: start time. Gradients reach it, and t1 and save_at, where they are tensors.
        t1: end time; before t0 to integrate backward in time.
        args: arguments for f. A tuple is spread; anything else, or a tuple where f's third and last
            parameter is called `args`, is handed over whole. `PerSample` marks those with one entry
            a sample, for batch="independent".
        solver: a name that `list_solvers()` gives, or a solver object. The default, tsit5, needs
            the fewest evaluations at common tolerances.
        num_steps: take this many equal steps, without a look at their error: a state that became
            NaN is returned as it is. None adapts the steps to the tolerance, which needs a solver
            with an error estimate.
        rtol: relative tolerance of a step's error, for adaptive steps; a number, or a tensor that
            broadcasts against y.
        atol: absolute tolerance of a step's error, in units of y, for adaptive steps; likewise.
        gradient: a name that `list_gradients()` gives, or a gradient object with its options.
            `checkpointed` keeps one state a step and makes each step again on the way back;
            `direct` keeps every step's graph, is faster, and can be differentiated again;
            `reversible` keeps the end and undoes each step, with a reversible solver or any
            explicit Runge-Kutta method at twice the evaluations; `auto` chooses between them. All
            these are exact. `backsolve` solves the adjoint ODE backward and is right up to the
            tolerance only. Under batch="independent" `direct` and `checkpointed` are at hand, and
            both evaluate f once more for each accepted step.
        save_at: times to save, ordered from t0 to t1; "steps" saves t0 and the end of each accepted
            step, None the end only. Times are read off the method's interpolant and don't change
            the steps, except under methods without an accurate one, which land on them. Under
            batch="independent" also of shape (batch, times).
        max_steps: most attempted steps before the solve gives up.
        controller: a step size controller in place of num_steps, rtol and atol.
        batch: "joint" takes one step for all samples, as long as the worst allows. "independent"
            gives each its own clock, steps and end, where t0 and t1 may have shape (batch,): f then
            receives t of shape (rows, 1, ..., 1), nested like y where the tensors of y have
            different ranks, and only the samples that still run. An entry of
            save_at may be NaN there, where a sample has fewer times than others; states that were
            not reached are NaN.
        dense: keep the interpolants: `solution.interpolant(t)` is the state at any time. They are
            of order 3 or 4, so inside the long steps of methods of order 6 and more they miss the
            tolerance by far, where states at `save_at` do not.
        event: roots to look for on the way; see `Event`.
        throw: raise SolveError where t1 cannot be reached; False returns what was reached, with
            `solution.result` and `solution.error`.
        observer: called as observer(what, t0, y0, dt) before each step (what = "attempt") and after
            it ("accept" or "reject"). Not under batch="independent".
        compile: make graphs with torch.compile: several times faster for small vector fields. With
            gradient="direct" up to 32 fixed steps are one graph, forward and backward, which runs
            inside a CUDA graph on a GPU; in other cases each step of an explicit Runge-Kutta
            method is one. Takes a compiler and tens of seconds at the first solve; vector_field
            must be the same object from solve to solve.

    Returns:
        Solution with ts (times,), ys (times, *y0.shape), y1 and stats.

    Raises:
        ValueError: an argument is out of its range; the message says what to try.
        SolveError: t1 could not be reached; names t, dt, the sample, the cause and a remedy.
    """
    refuse_changing_layers(vector_field)
    layout = None if isinstance(y0, Tensor) else StateLayout.of(y0)
    packed = check_state(y0 if layout is None else layout.pack(y0))
    chosen = resolve_gradient(gradient)
    method = chosen.solver_for(resolve_solver(solver))
    control = read_controller(method, controller, num_steps, rtol, atol, max_steps)
    events, save_at = read_events(event), stack_times(save_at)
    entering = (y0, args, [event.args for event in events])
    refuse_mapped(method, control, events, vector_field, entering)
    if batch == "independent":
        return odesolve_independent(
            vector_field, y0, t0, t1,
            args=args, solver=method, controller=control, gradient=chosen, save_at=save_at,
            max_steps=max_steps, dense=dense, events=events, throw=throw, observer=observer,
            compile=compile,
        )  # fmt: skip
    if batch != "joint":
        raise ValueError(unknown_name("batch", batch, ("joint", "independent")))
    start, end = read_time("t0", t0), read_time("t1", t1)
    save_steps = isinstance(save_at, str)
    if save_steps and save_at != "steps":
        raise ValueError(f"`save_at` must hold times, or be 'steps', got {save_at!r}.")
    slack = save_slack((save_at, t0, t1), start, end)
    times = (start,) if save_steps else read_save_times(save_at, start, end, slack)
    ends = (t0 if tracked(t0) else None, t1 if tracked(t1) else None)
    wanted = Wanted(
        save_times=tuple(t for t in times if t != start),
        save_slack=slack,
        save_steps=save_steps,
        dense=dense,
        watch=_watch(events, layout),
        observer=_observer(observer, layout),
    )
    one_graph = False
    if compile:
        one_graph = fits_one_graph(method, control, wanted, start, end) and ends == (None, None)
        keeps_stages = dense or bool(events) or (save_at is not None and not save_steps)
        if not (one_graph and isinstance(chosen, Direct)):
            method = compiled(method, control, vector_field, layout, ends, keeps_stages)
    problem = Problem(
        vector_field=vector_field,
        args=select_samples(args, None),
        ends=ends,
        layout=layout,
        stats=Stats(),
        solver=method,
        controller=control,
        y0=packed,
        t0=start,
        t1=end,
        wanted=wanted,
        max_steps=max_steps,
        one_graph=one_graph,
    )
    if start == end:
        path = Trajectory(start, _stay(problem))
    else:
        path = chosen.solve(problem)
    if path.error is not None and throw:
        raise path.error
    return answer(problem, path, times, save_at, events, time_dtype(packed, t0, t1))


def _stay(problem: Problem) -> State:
    """y0 as the end of an empty interval, which f moves where the ends move."""
    term, clock, y0 = problem.term(), problem.clock(), problem.y0
    if clock is None:
        return y0.clone()  # a solution may be changed in place, the input not
    term.clock = None
    return y0 + term(problem.t0, y0) * first_order(clock.stretch(y0), "t1")


def _watch(events: tuple[Event, ...], layout: StateLayout | None) -> EventWatch | None:
    if not events:
        return None

    def evaluate(event: Event, t: float, y: Tensor) -> Tensor:
        time = torch.full((), t, dtype=y.real.dtype, device=y.device)
        value = event.bind()(time, y if layout is None else layout.unpack(y))
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"`event` must return one number for all samples, as a tensor, got {shape}. Try "
                ".min() over them, or batch='independent', where each sample has its own events."
            )
        refuse_unordered(value)
        return value.reshape(())

    return EventWatch(events, evaluate)


def _observer(observer: Observer | None, layout: StateLayout | None) -> Observer | None:
    if observer is None or layout is None:
        return observer
    return lambda what, t0, y0, dt: observer(what, t0, layout.unpack(y0), dt)
