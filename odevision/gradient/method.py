"""AbstractGradient: what every gradient method offers, and the autograd function they share."""

import abc
import dataclasses
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from odevision.gradient.dependencies import Dependencies
from odevision.gradient.problem import Problem
from odevision.gradient.sweep import Sweep, autocast_state
from odevision.ode.loop import AcceptedStep, Trajectory
from odevision.ode.solution import Stats
from odevision.ode.solver import AbstractSolver, Memory
from odevision.ode.tracing import transformed
from odevision.types import State


class AbstractGradient(abc.ABC):
    """Solves a problem so that gradients flow through what it hands out. Holds settings only.

    Attributes:
        name: the word users type.
        kind: what it keeps and repeats, in few words for lists.
        accuracy: "exact" is the gradient of the numbers that the forward pass computed, up to
            rounding; "convergent" tends to the gradient of the ODE as the tolerance tends to 0.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    accuracy: ClassVar[Literal["exact", "convergent"]]

    @abc.abstractmethod
    def solve(self, problem: Problem) -> Trajectory:
        """Solve, and attach the gradient to what is handed out."""

    def solver_for(self, solver: AbstractSolver) -> AbstractSolver:
        """The solver of the forward pass where this one was asked for."""
        return solver


class Record(abc.ABC):
    """What a forward pass without a graph leaves for the way back.

    Attributes:
        needs_end: `pull_back` asks for y1.
    """

    needs_end: ClassVar[bool] = False

    @abc.abstractmethod
    def finish(self, path: Any, stats: Stats) -> None:
        """Told about the end of the forward pass; says in `stats` how many bytes are kept."""

    @abc.abstractmethod
    def pull_back(
        self, sweep: Sweep, y0: State, y1: State | None, lam: State, lam_outputs: list[Tensor]
    ) -> State:
        """Pull dL/dy1 and those of the outputs back to y0.

        Args:
            sweep: makes steps again, and gathers the gradients of all that f depends on.
            y0: the state at t0.
            y1: that at the end, where `needs_end`.
            lam: dL/dy1.
            lam_outputs: dL/d`Trajectory.outputs`; the list is used up.

        Returns:
            dL/dy0.
        """


class StepRecord(Record):
    """A record of accepted steps."""

    @abc.abstractmethod
    def remember(self, step: AcceptedStep, y: State, memory: Memory) -> None:
        """Told about each accepted step, and the state and memory that it starts from."""


def solve_apart(problem: Problem, record: StepRecord, name: str) -> Trajectory:
    """Solve without a graph, and leave the way back to the record.

    torch.compile and the transforms of torch.func take no such detours: the solve is recorded as
    it stands under them, and a compiler decides itself what to recompute.

    Args:
        problem: what to solve.
        record: keeps what it needs of the accepted steps.
        name: that of the gradient, for errors.
    """
    if not torch.is_grad_enabled() or transformed():
        return problem.integrate(problem.term(), problem.y0)
    y0 = problem.y0
    dependencies = Dependencies(problem.vector_field, problem.inputs)
    term = problem.term()
    term.vector_field = dependencies.watch(term.vector_field)

    def remember(step: AcceptedStep, y: State, memory: Memory) -> None:
        if y0.requires_grad or dependencies:  # the first evaluation may have found some
            record.remember(step, y, memory)

    may_find = dependencies.watches and not problem.one_graph
    wanted = y0.requires_grad or dependencies or may_find
    try:
        with torch.no_grad():
            path = problem.integrate(term, y0.detach(), remember if wanted else None)
    finally:
        if torch.is_autocast_enabled(y0.device.type):
            # Weights cast without a graph must not be served to code that needs one.
            torch.clear_autocast_cache()
    if path.error is not None and not path.steps:  # the solve failed at once
        return dataclasses.replace(path, y1=y0)
    if not (y0.requires_grad or dependencies.found):
        return path
    return attach(problem, record, path, dependencies, problem.stats, name)


def attach(
    problem: Any, record: Record, path: Any, dependencies: Dependencies, stats: Stats, name: str
) -> Any:
    """Give a finished forward pass its backward pass.

    The record must not hold the very tensors that are handed out: they get a graph, which holds
    the record.

    Args:
        problem: a Problem, or an IndependentProblem.
        record: what the forward pass left.
        path: its trajectory.
        dependencies: the tensors beside y0 that gradients flow to.
        stats: where costs are counted.
        name: that of the gradient, for errors.

    Returns:
        The same trajectory, with a graph behind y1 and outputs.
    """
    record.finish(path, stats)
    done = _Done(problem, record, path, dependencies, name)
    y1, *outputs = _Adjoint.apply(done, problem.y0, *dependencies.found.values())
    return dataclasses.replace(path, y1=y1, outputs=outputs)


def graph_stays() -> bool:
    """Whether the running backward pass keeps its graph (retain_graph=True) for another."""
    return torch._C._autograd._get_current_graph_task_keep_graph()  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True)
class _Done:
    """A finished forward pass."""

    problem: Any
    record: Record
    path: Any
    dependencies: Dependencies
    name: str


class _Adjoint(torch.autograd.Function):
    """Leaves the way back to the record of the forward pass."""

    @staticmethod
    def forward(ctx: Any, done: _Done, y0: State, *theta: Tensor) -> tuple[Tensor, ...]:
        path = done.path
        ctx.problem, ctx.record, ctx.gradient_name = done.problem, done.record, done.name
        ctx.dependencies = done.dependencies
        ctx.autocast = autocast_state(y0.device.type)
        # A view that was made without a graph could not be changed in place.
        y1 = path.y1.clone() if path.y1._is_view() else path.y1
        # Backward refuses to go on where one of these was changed in place.
        ctx.save_for_backward(y0, y1 if done.record.needs_end else None, *theta)
        return y1, *path.outputs

    @staticmethod
    def backward(ctx: Any, *lams: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # once_differentiable would give a gradient without a graph
            raise ValueError(
                "`gradient` must be 'direct' where a gradient is to be differentiated again "
                f"(create_graph=True), got {ctx.gradient_name!r}. Try gradient='direct'."
            )
        y0, y1, *theta = ctx.saved_tensors
        stays = graph_stays()
        sweep = Sweep(ctx.problem, ctx.dependencies, theta, ctx.autocast)
        lam = ctx.record.pull_back(sweep, y0, y1, lams[0], list(lams[1:]))
        if not stays:  # as autograd lets go of what it saved
            del ctx.problem, ctx.record, ctx.dependencies
        return None, lam, *sweep.gradients
