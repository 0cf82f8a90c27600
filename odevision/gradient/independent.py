"""Gradients of solves in which every sample has a clock of its own.

The loop runs without a graph, and an attempted step leaves behind which rows accepted it. Both
gradients make these rows' steps again: rows that rejected a step are in no graph. (To choose
between accepted and rejected rows inside a graph is no way out: the gradient of a rejected row
would be 0 times its derivatives, which is NaN where one of them overflowed.)
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from odevision.gradient.bytes_held import storage_bytes
from odevision.gradient.checkpointed import Checkpointed
from odevision.gradient.dependencies import Dependencies
from odevision.gradient.method import AbstractGradient, Record, attach
from odevision.gradient.sweep import Sweep
from odevision.ode.controller import ConstantController, PIDController
from odevision.ode.independent import (
    RowStep,
    RowsWanted,
    RowTimes,
    RowTrajectory,
    SampleField,
    integrate_independent,
    make_step,
)
from odevision.ode.independent.loop import OnAccept
from odevision.ode.solution import Stats
from odevision.ode.solver import AbstractSolver
from odevision.ode.state import StateLayout
from odevision.ode.tracing import transformed
from odevision.types import State, VectorField


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndependentProblem:
    """What to solve and how, with one clock a sample.

    Attributes:
        vector_field: the user's callable, where the gradient looks for tensors to reach.
        args: the user's arguments to it, `PerSample` ones marked.
        layout: how a nested state is packed; None where the state is one tensor.
        solver: makes one step.
        controller: chooses and judges the steps.
        y0: states at t0, packed, shape (batch, ...).
        times: the ends of each sample's solve.
        wanted: what to hand out beside the end.
        max_steps: most attempted steps.
        throw: stop at the first failure.
    """

    vector_field: VectorField
    args: Any
    layout: StateLayout | None
    solver: AbstractSolver
    controller: ConstantController | PIDController
    y0: State
    times: RowTimes
    wanted: RowsWanted
    max_steps: int
    throw: bool

    @property
    def inputs(self) -> tuple[Any, ...]:
        """All that f receives beside t and y, to look for tensors with gradients in."""
        return (self.args, self.times.ends)

    def term(self, inputs: tuple[Any, ...] | None = None, phase: str = "forward") -> "BoundField":
        """The vector field bound to its inputs, or to others in their place."""
        del phase  # counted a step at a time
        args, ends = self.inputs if inputs is None else inputs
        field = SampleField(self.vector_field, args, self.layout, len(self.y0))
        return BoundField(field, dataclasses.replace(self.times, ends=ends))

    def integrate(
        self, field: SampleField, y0: State, on_accept: OnAccept | None = None
    ) -> RowTrajectory:
        """Run the loop."""
        return integrate_independent(
            field,
            self.solver,
            self.controller,
            y0,
            dataclasses.replace(self.times, ends=(None, None)),
            wanted=self.wanted,
            max_steps=self.max_steps,
            throw=self.throw,
            on_accept=on_accept,
        )


@dataclasses.dataclass(frozen=True)
class BoundField:
    """A field and the times that go with it, both with the tensors that gradients flow to."""

    field: SampleField
    times: RowTimes

    def make(
        self, solver: AbstractSolver, step: RowStep, y0: State, stats: Stats
    ) -> tuple[Tensor, Tensor | None]:
        """Make an accepted step again, and count its evaluations as those of each of its rows."""
        count = Stats()
        made = make_step(solver, self.field, self.times, step, y0, stats=count)
        nfe = torch.full_like(step.samples, count.nfe_forward)
        stats.nfe_backward.index_add_(0, step.samples, nfe)
        return made


def solve_independent(problem: IndependentProblem, gradient: AbstractGradient) -> RowTrajectory:
    """Solve, and attach a gradient to the states that are handed out.

    Args:
        problem: what to solve.
        gradient: 'direct' makes all accepted steps once more with one graph of them all;
            'checkpointed' keeps their states, and makes them again one by one on the way back.
    """
    field, y0 = problem.term().field, problem.y0
    if not torch.is_grad_enabled():
        return problem.integrate(field, y0.detach())
    dependencies = Dependencies(problem.vector_field, problem.inputs)
    field.call = dependencies.watch(field.call)
    kept = _Rows(problem)
    keep = isinstance(gradient, Checkpointed) and not transformed()

    def remember(step: RowStep, y: Tensor) -> None:
        if y0.requires_grad or dependencies or transformed():
            kept.steps.append(step)
            if keep:
                kept.states.append(y)

    try:
        path = problem.integrate(field, y0.detach(), remember)
    finally:
        if torch.is_autocast_enabled(y0.device.type):
            # Weights cast without a graph must not be served to code that needs one.
            torch.clear_autocast_cache()
    failed = path.failures.error is not None and problem.throw
    if failed or not kept.steps or not (y0.requires_grad or dependencies.found or transformed()):
        return path
    if not keep:
        return _record(problem, path, kept.steps)
    return attach(problem, kept, path, dependencies, path.stats, gradient.name)


def _record(
    problem: IndependentProblem, path: RowTrajectory, steps: list[RowStep]
) -> RowTrajectory:
    """Make the accepted steps again while autograd records them."""
    bound, y, outputs = problem.term(), problem.y0, []
    for step in steps:
        rows = y.index_select(0, step.samples)
        rows, inside = bound.make(problem.solver, step, rows, path.stats)
        y = y.index_copy(0, step.samples, rows)
        if inside is not None:
            outputs.append(inside)
    return dataclasses.replace(path, y1=y, outputs=outputs)


class _Rows(Record):
    """What the rows of each accepted step start from."""

    def __init__(self, problem: IndependentProblem) -> None:
        self.solver = problem.solver
        self.steps: list[RowStep] = []
        self.states: list[Tensor] = []

    def finish(self, path: RowTrajectory, stats: Stats) -> None:
        """Count the states."""
        self.stats = stats
        stats.hold(storage_bytes(self.states))

    def pull_back(
        self, sweep: Sweep, y0: State, y1: State | None, lam: State, lam_outputs: list[Tensor]
    ) -> State:
        """Make the rows' steps again, from last to first."""
        del y0, y1
        lam = lam.clone()
        for step, y in zip(reversed(self.steps), reversed(self.states), strict=True):
            with sweep.recording():
                y = y.detach().requires_grad_()
                rows, inside = sweep.term.make(self.solver, step, y, self.stats)
            pairs = [(rows, lam.index_select(0, step.samples))]
            if inside is not None:
                pairs.append((inside, lam_outputs.pop()))
            lam.index_copy_(0, step.samples, sweep.vjp(pairs, [y])[0])
        return lam
