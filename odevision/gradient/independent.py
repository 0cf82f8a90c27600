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

from odevision.gradient.checkpointed import Sweep, autocast_state
from odevision.gradient.dependencies import Dependencies
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


def solve_independent(problem: IndependentProblem, gradient: str) -> RowTrajectory:
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
    steps: list[RowStep] = []
    states: list[Tensor] = []
    keep = gradient == "checkpointed" and not transformed()

    def remember(step: RowStep, y: Tensor) -> None:
        if y0.requires_grad or dependencies or transformed():
            steps.append(step)
            if keep:
                states.append(y)

    try:
        path = problem.integrate(field, y0.detach(), remember)
    finally:
        if torch.is_autocast_enabled(y0.device.type):
            # Weights cast without a graph must not be served to code that needs one.
            torch.clear_autocast_cache()
    failed = path.failures.error is not None and problem.throw
    if failed or not steps or not (y0.requires_grad or dependencies.found or transformed()):
        return path
    if not keep:
        return _record(problem, path, steps)
    forward = _Forward(problem, dependencies, path, steps, states)
    y1, *outputs = _DiscreteAdjoint.apply(forward, y0, *dependencies.found.values())
    return dataclasses.replace(path, y1=y1, outputs=outputs)


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


@dataclasses.dataclass(frozen=True)
class _Forward:
    """A finished forward pass, and what the rows of each step start from."""

    problem: IndependentProblem
    dependencies: Dependencies
    path: RowTrajectory
    steps: list[RowStep]
    states: list[Tensor]


class _DiscreteAdjoint(torch.autograd.Function):
    """Gives a finished forward pass its backward pass."""

    @staticmethod
    def forward(ctx: Any, forward: _Forward, y0: State, *theta: Tensor) -> tuple[Tensor, ...]:
        ctx.problem, ctx.dependencies = forward.problem, forward.dependencies
        ctx.steps, ctx.stats = forward.steps, forward.path.stats
        ctx.device_type = y0.device.type
        ctx.autocast = autocast_state(ctx.device_type)
        ctx.save_for_backward(*theta, *forward.states)
        return forward.path.y1, *forward.path.outputs

    @staticmethod
    def backward(ctx: Any, *lams: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # once_differentiable would give a gradient without a graph
            raise ValueError(
                "`gradient` must be 'direct' where a gradient is to be differentiated again "
                "(create_graph=True), got 'checkpointed'. Try gradient='direct'."
            )
        ids = list(ctx.dependencies.found)
        saved = list(ctx.saved_tensors)
        theta, states = saved[: len(ids)], saved[len(ids) :]
        sweep = Sweep(ctx, ids, theta)
        lam, lam_outputs = lams[0].clone(), list(lams[1:])
        for step, y in zip(reversed(ctx.steps), reversed(states), strict=True):
            with sweep.recording():
                y = y.detach().requires_grad_()
                y1, inside = sweep.term.make(ctx.problem.solver, step, y, ctx.stats)
            pairs = [(y1, lam.index_select(0, step.samples))]
            if inside is not None:
                pairs.append((inside, lam_outputs.pop()))
            lam.index_copy_(0, step.samples, sweep.vjp(pairs, [y])[0])
        return None, lam, *sweep.gradients
