"""odesolve under batch="independent": read its arguments, solve, sort the answer by samples."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.gradient import AbstractGradient, Auto, Checkpointed, Direct
from odevision.gradient.independent import IndependentProblem, solve_independent
from odevision.gradient.problem import Problem
from odevision.ode.clock import clock_dtype
from odevision.ode.controller import ConstantController, Controller, GridController
from odevision.ode.event import Event, refuse_unordered
from odevision.ode.independent import RowEventWatch, RowsWanted, RowTimes, user_view
from odevision.ode.loop import Wanted
from odevision.ode.per_sample import per_sample_tensors
from odevision.ode.solution import Solution, SolveError, Stats
from odevision.ode.solver import AbstractSolver
from odevision.ode.state import StateLayout
from odevision.ode.tracing import tracked
from odevision.solve.checks import precision_of, read_time, time_dtype
from odevision.solve.independent_answer import answer_fixed, answer_independent
from odevision.types import Number, State, VectorField


def odesolve_independent(
    vector_field: VectorField,
    y0: Any,
    t0: Number | Tensor,
    t1: Number | Tensor,
    *,
    args: Any,
    solver: AbstractSolver,
    controller: Controller,
    gradient: AbstractGradient,
    save_at: Any,
    max_steps: int,
    dense: bool,
    events: Sequence[Event],
    throw: bool,
    observer: Any,
    compile: bool,
) -> Solution:
    """Solve with one clock a sample; see `odesolve` for the arguments.

    Raises:
        ValueError: an argument is out of its range, or has no meaning here.
        SolveError: a sample could not reach its t1, with throw=True.
    """
    if isinstance(gradient, Auto):
        gradient = Checkpointed()
    if gradient not in (Direct(), Checkpointed()):
        raise ValueError(
            "`gradient` must be 'direct', or 'checkpointed' without options, under "
            f"batch='independent', got {gradient}. Try gradient='checkpointed'."
        )
    layout, packed = _read_state(y0)
    _refuse(controller, save_at, dense, observer, compile)
    assert not isinstance(controller, GridController)
    start, end = _read_time("t0", t0, packed), _read_time("t1", t1, packed)
    _check_per_sample((args, *(event.args for event in events)), len(packed))
    if isinstance(controller, ConstantController) and save_at is None and not events:
        return _solve_fixed(
            vector_field, packed, t0, t1, start, end,
            args=args, solver=solver, controller=controller, gradient=gradient, layout=layout,
            max_steps=max_steps, throw=throw,
        )  # fmt: skip
    _refuse_infinite(start, end)
    saves = _read_saves(save_at, start, end, precision_of((save_at, t0, t1)))
    points = () if isinstance(controller, ConstantController) else controller.jump_points
    problem = IndependentProblem(
        vector_field=vector_field,
        args=args,
        layout=layout,
        solver=solver,
        controller=controller,
        y0=packed,
        times=RowTimes(
            start,
            end,
            start.new_tensor(points) if points else None,
            (_gradient_of(t0), _gradient_of(t1)),
        ),
        wanted=RowsWanted(saves=saves, watch=_watch(events, layout)),
        max_steps=max_steps,
        throw=throw,
    )
    path = solve_independent(problem, gradient)
    if path.failures.error is not None and throw:
        raise path.failures.error
    return answer_independent(problem, path, save_at, events, time_dtype(packed, t0, t1))


def _refuse(
    controller: Controller, save_at: Any, dense: bool, observer: Any, compile: bool
) -> None:
    """Refuse what only samples with one common clock can have.

    Raises:
        ValueError: it was asked for.
    """
    if isinstance(controller, GridController):
        raise ValueError(
            "`controller` must not be a GridController under batch='independent', where each "
            "sample has its own steps. Try num_steps=4, or batch='joint'."
        )
    if isinstance(save_at, str):
        raise ValueError(
            f"`save_at` must hold times under batch='independent', where each sample has its own "
            f"steps, got {save_at!r}. Try a tensor of shape (times,) or (batch, times)."
        )
    if dense:
        raise ValueError(
            "`dense` must be False under batch='independent', got True. Try `save_at` with times "
            "of shape (times,) or (batch, times)."
        )
    if observer is not None:
        raise ValueError(
            "`observer` must be None under batch='independent', where a step has no one time. "
            "Try `solution.stats`, which counts for each sample, or batch='joint'."
        )
    if compile:
        raise ValueError(
            "`compile` must be False under batch='independent', where samples leave one by one and "
            "no graph would fit for long, got True. Try to compile the vector field itself, with "
            "dynamic=True."
        )


def _read_state(y0: Any) -> tuple[StateLayout | None, State]:
    """The layout of a nested state, and the state in one tensor with samples along dimension 0."""
    layout = None if isinstance(y0, Tensor) else StateLayout.of(y0)
    sizes = {y0.shape[:1]} if layout is None else {shape[:1] for shape in layout.shapes}
    if len(sizes) > 1 or not sizes.pop():
        shapes = tuple(y0.shape) if layout is None else str(layout)
        raise ValueError(
            "`y0` must count the samples along dimension 0, the same in all of its tensors, under "
            f"batch='independent', got shape {shapes}. Try y0[None], or batch='joint'."
        )
    if layout is None:
        return None, y0
    layout = dataclasses.replace(layout, batch=layout.shapes[0][0])
    return layout, layout.pack(y0)


def _read_time(name: str, value: Number | Tensor, like: State) -> Float[Tensor, " batch"]:
    """One time a sample, in the precision of the clock.

    Raises:
        ValueError: it is not one finite number, or one a sample.
    """
    batch, device = len(like), like.device
    dtype = clock_dtype(device)
    if isinstance(value, Tensor):
        if value.shape not in ((), (batch,)):
            raise ValueError(
                f"`{name}` must be one number, or one a sample, shape ({batch},), got shape "
                f"{tuple(value.shape)}."
            )
        return value.detach().to(device, dtype).expand(batch).contiguous()
    return torch.full((batch,), read_time(name, value), dtype=dtype, device=device)


def _gradient_of(time: Number | Tensor) -> Tensor | None:
    """The time, where derivatives with respect to it may be asked for."""
    return time if isinstance(time, Tensor) and tracked(time) else None


def _refuse_infinite(t0: Float[Tensor, " batch"], t1: Float[Tensor, " batch"]) -> None:
    """Read the times. Equal steps don't, and return a state that became NaN as it is."""
    good = torch.stack([torch.isfinite(t0), torch.isfinite(t1)]).all(1).tolist()
    for name, times, finite in zip(("t0", "t1"), (t0, t1), good, strict=True):
        if not finite:
            raise ValueError(f"`{name}` must be finite, got {times.tolist()}.")


def _read_saves(
    save_at: Any, t0: Float[Tensor, " batch"], t1: Float[Tensor, " batch"], precision: float
) -> Float[Tensor, "batch times"] | None:
    """Times to save, one row a sample, NaN where there is none; None where none are asked for.

    Raises:
        ValueError: one lies outside of its sample's [t0, t1], or they are not ordered.
    """
    if save_at is None:
        return None
    if isinstance(save_at, Tensor):
        given = save_at.detach()
    else:
        given = torch.as_tensor(save_at, dtype=t0.dtype)
    precision = max(precision, torch.finfo(t0.dtype).eps)
    saves = given.to(t0.device, t0.dtype)
    if saves.ndim == 1:
        saves = saves.expand(len(t0), -1)
    if saves.ndim != 2 or saves.shape[0] != len(t0) or not saves.shape[1]:
        raise ValueError(
            f"`save_at` must be of shape (times,) or (batch, times) = ({len(t0)}, times), got "
            f"{tuple(given.shape)}."
        )
    # A rounded t0 or t1, as in a float32 linspace, is still meant as t0 or t1.
    slack = 2 * precision * torch.maximum(t0.abs(), t1.abs())[:, None]
    for end in (t1[:, None], t0[:, None]):
        saves = torch.where((saves - end).abs() <= slack, end, saves)
    low, high = torch.minimum(t0, t1)[:, None], torch.maximum(t0, t1)[:, None]
    outside = (saves < low) | (saves > high)
    if bool(outside.any()):
        sample, place = torch.nonzero(outside)[0].tolist()
        raise ValueError(
            f"`save_at` must hold times between t0 = {float(t0[sample])} and t1 = "
            f"{float(t1[sample])} for sample {sample}, got {float(saves[sample, place])}. Try NaN "
            "where a sample has fewer times than others."
        )
    signed = torch.where(torch.isnan(saves), torch.inf, saves * torch.sign(t1 - t0)[:, None])
    if bool((signed.diff(dim=1) < 0).any()):
        raise ValueError("`save_at` must be ordered from t0 to t1, with NaN at the end, if any.")
    return saves.contiguous()


def _check_per_sample(args: Any, batch: int) -> None:
    for x in per_sample_tensors(args):
        if x.ndim == 0 or x.shape[0] != batch:
            raise ValueError(
                f"`args` must hold {batch} entries along dimension 0 of each tensor in PerSample, "
                f"got shape {tuple(x.shape)}."
            )


def _watch(events: Sequence[Event], layout: StateLayout | None) -> RowEventWatch | None:
    if not events:
        return None
    view = user_view(layout)

    def evaluate(event: Event, t: Tensor, y: Tensor, samples: Tensor) -> Tensor:
        value = event.bind(samples)(*view(t, y))
        if not isinstance(value, Tensor) or value.shape != samples.shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"`event` must return one number a sample, shape {tuple(samples.shape)}, got "
                f"{shape}. Try y[:, 0] in place of y[0], and Event(args=odevision.PerSample(...)) "
                "for tensors with one entry a sample: only some of the samples are in y."
            )
        refuse_unordered(value)
        return value

    return RowEventWatch(events, evaluate)


def _solve_fixed(
    vector_field: VectorField,
    y0: State,
    t0: Number | Tensor,
    t1: Number | Tensor,
    start: Float[Tensor, " batch"],
    end: Float[Tensor, " batch"],
    *,
    args: Any,
    solver: AbstractSolver,
    controller: ConstantController,
    gradient: AbstractGradient,
    layout: StateLayout | None,
    max_steps: int,
    throw: bool,
) -> Solution:
    """Equal steps for all: the loop of one clock, for s from 0 to 1; it reads nothing."""
    ends = [
        times if (given := _gradient_of(t)) is None else given.to(times).expand(len(y0))
        for t, times in ((t0, start), (t1, end))
    ]
    problem = Problem(
        vector_field=vector_field,
        args=args,
        ends=(ends[0], ends[1]),
        layout=layout,
        stats=Stats(),
        solver=solver,
        controller=controller,
        y0=y0,
        t0=0.0,
        t1=1.0,
        wanted=Wanted(),
        max_steps=max_steps,
        one_clock=False,
    )
    path = gradient.solve(problem)
    error = None if path.error is None else _in_ode_time(path.error, start, end)
    if error is not None and throw:
        raise error
    return answer_fixed(problem, path, (start, end), error, time_dtype(y0, t0, t1))


def _in_ode_time(error: SolveError, t0: Tensor, t1: Tensor) -> SolveError:
    """The failure of a solve from s = 0 to 1, told in the time of the sample that it names."""
    sample = error.sample or 0
    start, span = float(t0[sample]), float(t1[sample] - t0[sample])
    return SolveError(
        error.result,
        error.cause.split(" at t = ")[0],  # which would be an s
        t=start + error.t * span,
        dt=None if error.dt is None else error.dt * span,
        sample=error.sample,
        slope=error.slope,
    )
