"""The checkpointed gradient: the exact discrete adjoint, one recomputed step at a time.

The forward pass runs without a graph and keeps the states between the steps. The backward pass
takes the accepted steps from last to first, makes each again with a graph, and pulls lam = dL/dy
through it. Memory is N states and the graph of a single step; the gradient equals that of `direct`.

Where N states are too many, some are kept and the steps between them made again: about one more
evaluation of every step for 2 sqrt(N) states.

References: Zhuang et al. 2020, "Adaptive checkpoint adjoint" (one step at a time); Matsubara et al.
2021, "Symplectic adjoint method" (one stage at a time).
"""

import dataclasses
import math
import sys
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from odevision.gradient.bytes_held import tensor_bytes
from odevision.gradient.method import AbstractGradient, StepRecord, graph_stays, solve_apart
from odevision.gradient.problem import Problem
from odevision.gradient.schedule import next_stop, stops
from odevision.gradient.stagewise import pull_by_stages
from odevision.gradient.sweep import Sweep, add_outputs
from odevision.ode.compiled import plain
from odevision.ode.loop import AcceptedStep, Trajectory
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solution import Stats
from odevision.ode.solver import AbstractSolver, Memory
from odevision.types import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpointed(AbstractGradient):
    """Keeps states between the steps and makes each step again on the way back.

    Args:
        max_states: most states to keep at once, at least 1; "sqrt" keeps about 2 sqrt(N) of N
            steps, and None all. Between kept states the steps are made again by the binomial
            schedule, which repeats the fewest.
        max_bytes: most bytes of kept states; at least one state is kept.
        dtype: that of the kept states, such as torch.bfloat16 for half the memory; None keeps them
            as they are, as complex ones are always. Each step is then pulled back at a rounded
            state.
        graph: "step" makes a step again with its graph; "stage" with the graph of one evaluation
            of f at a time, which takes a method's number of stages less memory, and f once more a
            stage. For explicit Runge-Kutta methods only; a step that is interpolated takes its
            graph as a whole.
    """

    max_states: int | Literal["sqrt"] | None = None
    max_bytes: int | None = None
    dtype: torch.dtype | None = None
    graph: Literal["step", "stage"] = "step"
    name: ClassVar[str] = "checkpointed"
    kind: ClassVar[str] = "keeps one state a step, and makes each step again"
    accuracy: ClassVar[Literal["exact", "convergent"]] = "exact"

    def __post_init__(self) -> None:
        """Refuse what keeps nothing."""
        for name in ("max_states", "max_bytes"):
            value = getattr(self, name)
            word = name == "max_states" and value == "sqrt"
            if value is not None and not word and not _counts(value):
                hint = "Try 'sqrt'." if name == "max_states" else "Try 2**28."
                raise ValueError(
                    f"`{name}` must be a whole number of at least 1, got {value!r}. {hint}"
                )
        dtype = self.dtype
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(
                f"`dtype` must be a floating point type, got {self.dtype!r}. Try torch.bfloat16."
            )
        if self.graph not in ("step", "stage"):
            raise ValueError(f"`graph` must be 'step' or 'stage', got {self.graph!r}.")

    def solver_for(self, solver: AbstractSolver) -> AbstractSolver:
        """The solver as it is.

        Raises:
            ValueError: its steps cannot be pulled back by stages, which was asked for.
        """
        if self.graph == "stage" and not isinstance(plain(solver), ExplicitRungeKutta):
            raise ValueError(
                "`graph` must be 'step' where the solver is no explicit Runge-Kutta method, got "
                f"'stage' with {solver.name!r}. Try Checkpointed()."
            )
        return solver

    def solve(self, problem: Problem) -> Trajectory:
        """Solve without a graph, and attach the discrete adjoint to what is handed out."""
        return solve_apart(problem, _Kept(self, problem), self.name)


@dataclasses.dataclass(frozen=True)
class _Start:
    """What a step starts from, as it is kept; y is None at t0, where autograd keeps it."""

    y: State | None
    memory: Memory
    bytes: int


class _Kept(StepRecord):
    """The starts of accepted steps, all or some of them.

    While it is not known how many steps there will be, the start of every `stride`-th is kept, and
    every other one given up when they become too many. At the end those stay that lie nearest
    before the best places.
    """

    def __init__(self, settings: Checkpointed, problem: Problem) -> None:
        self.settings, self.problem = settings, problem
        self.starts: dict[int, _Start] = {}
        self.steps: list[AcceptedStep] = []
        self.count, self.stride, self.largest = 0, 1, 1
        self.scratch: Any = None

    def remember(self, step: AcceptedStep, y: State, memory: Memory) -> None:
        """Keep the start of a step where it is its turn."""
        del step
        i, self.scratch = self.count, memory.scratch
        self.count += 1
        if i % self.stride == 0:
            self.starts[i] = self._start(i, y, memory)
            while len(self.starts) > self._room():
                self.stride *= 2
                self.starts = {j: s for j, s in self.starts.items() if j % self.stride == 0}

    def finish(self, path: Trajectory, stats: Stats) -> None:
        """Give up starts that the schedule makes no use of."""
        self.steps = path.steps
        if self.scratch is not None:
            self.scratch.rest()
        if self.stride > 1:
            places = {i - i % self.stride for i in stops(self.count, self._room(known=True))}
            self.starts = {i: start for i, start in self.starts.items() if i in places}
        stats.hold(_bytes(self.starts))

    def pull_back(
        self, sweep: Sweep, y0: State, y1: State | None, lam: State, lam_outputs: list[Tensor]
    ) -> State:
        """Make the steps again, from last to first."""
        del y1
        # Kept for a second way back where that may be asked for, else let go one by one.
        starts = dict(self.starts) if graph_stays() else self.starts
        by_stages = self.settings.graph == "stage"
        solver, lam_memory = plain(self.problem.solver), ()
        for i in reversed(range(len(self.steps))):
            step = self.steps[i]
            y, memory = self._start_of(i, starts, sweep, y0)
            starts.pop(i, None)
            if by_stages and isinstance(solver, ExplicitRungeKutta) and not step.interpolates:
                lam = add_outputs(step, lam, lam_outputs)
                lam = pull_by_stages(sweep, solver.tableau, step, y, lam)
            else:
                lam, lam_memory = sweep.pull(step, y, memory, lam, lam_memory, lam_outputs)
            if step.fresh:
                lam, lam_memory = sweep.pull_start(step.t0, y, lam, lam_memory), ()
        return lam

    def _start_of(
        self, i: int, starts: dict[int, _Start], sweep: Sweep, y0: State
    ) -> tuple[State, Memory]:
        """State and memory at the start of step i; keeps more on the way where there is room."""
        at = i if i in starts else max(starts)  # those behind i are gone
        kept = starts[at]
        y = y0.detach() if kept.y is None else kept.y.to(y0.dtype)
        states = tuple(x.to(y0.dtype) for x in kept.memory.states)
        memory = Memory(states, kept.memory.times, self.scratch)
        while at < i:
            length = i + 1 - at
            places = min(self._room(known=True) - len(starts), length)
            stop = at + next_stop(length, places) if places > 0 else i
            y, memory = self._walk(sweep, at, stop, y, memory)
            at = stop
            if at < i:
                starts[at] = self._start(at, y, memory)
        self.problem.stats.hold(_bytes(starts))
        return y, memory

    def _walk(
        self, sweep: Sweep, first: int, stop: int, y: State, memory: Memory
    ) -> tuple[State, Memory]:
        """Make steps again without a graph, up to the start of step `stop`."""
        solver, f0 = self.problem.solver, None
        with sweep.repeating():
            for i in range(first, stop):
                step, following = self.steps[i], self.steps[i + 1]
                made = solver.step(
                    sweep.term, step.t0, step.t1, y, f0, memory, all_stages=self._reuses_slopes
                )
                y, memory, f0 = made.y1, made.memory, made.f1
                if following.fresh:
                    memory, f0 = solver.start(sweep.term, following.t0, y), None
        return y, memory

    @property
    def _reuses_slopes(self) -> bool:
        """A step that makes all its stages hands the last to the next one, and costs no more."""
        solver = plain(self.problem.solver)
        return isinstance(solver, ExplicitRungeKutta) and solver.tableau.fsal

    def _start(self, i: int, y: State, memory: Memory) -> _Start:
        dtype = self.settings.dtype
        # Detached: a tensor that is handed out gets a graph, which would hold itself.
        cast = lambda x: (x if dtype is None or x.is_complex() else x.to(dtype)).detach()
        start = Memory(tuple(map(cast, memory.states)), memory.times)
        y = y if i == 0 else cast(y)
        size = tensor_bytes([y, *start.states])
        self.largest = max(self.largest, size)
        return _Start(None if i == 0 else y, start, size)

    def _room(self, *, known: bool = False) -> int:
        """Most states to keep at once.

        Args:
            known: all steps are made, so that "sqrt" knows of what.
        """
        states, most = self.settings.max_states, sys.maxsize
        if states == "sqrt":  # as many as there are steps between them, and those between
            most = 2 * math.isqrt(self.count) if known else max(2, self.stride)
        elif states is not None:
            most = states
        if self.settings.max_bytes is not None:
            most = min(most, max(1, self.settings.max_bytes // self.largest))
        return most


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _bytes(starts: dict[int, _Start]) -> int:
    return sum(start.bytes for start in starts.values())
