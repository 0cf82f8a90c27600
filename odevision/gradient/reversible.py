"""The reversible gradient: exact, in memory that does not grow with the steps.

The forward pass runs without a graph and keeps its end. On the way back each step is undone by
algebra, and the evaluation of f that this takes also carries the graph that lam = dL/dy is pulled
through: two evaluations and one vector-Jacobian product a step in all.

References: Zhuang et al. 2021, "MALI" (leapfrog); Kidger et al. 2021, "Efficient and accurate
gradients for neural SDEs" (reversible Heun); McCallum and Foster 2024, "Efficient, accurate and
stable gradients for neural ODEs" (any Runge-Kutta method).
"""

import dataclasses
from typing import ClassVar, Literal

from torch import Tensor

from odevision.gradient.bytes_held import tensor_bytes
from odevision.gradient.method import AbstractGradient, StepRecord, solve_apart
from odevision.gradient.problem import Problem
from odevision.gradient.sweep import Sweep, add_outputs
from odevision.ode.compiled import plain
from odevision.ode.coupled import CoupledRungeKutta
from odevision.ode.loop import AcceptedStep, Trajectory
from odevision.ode.reversible import ReversibleSolver
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solution import Stats
from odevision.ode.solver import AbstractSolver, Memory
from odevision.types import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reversible(AbstractGradient):
    """Undoes the steps by algebra and keeps nothing but the end.

    The solvers "leapfrog" and "reversible-heun" are reversible as they are. An explicit Runge-Kutta
    method is coupled with a second solution, which makes it so at twice the evaluations: the
    numbers of the forward pass differ from those of the method alone, within its error. Each undone
    step adds rounding errors, the more the faster the solution decays; anchors bound them.

    Args:
        anchor_every: also keep the state after each so many steps, and go on from there on the way
            back; None keeps none.
        coupling: of the two solutions, for Runge-Kutta methods; see `CoupledRungeKutta`.
    """

    anchor_every: int | None = None
    coupling: float = 0.999
    name: ClassVar[str] = "reversible"
    kind: ClassVar[str] = "keeps the end, and undoes each step"
    accuracy: ClassVar[Literal["exact", "convergent"]] = "exact"

    def __post_init__(self) -> None:
        """Refuse anchors at no distance."""
        every = self.anchor_every
        if every is not None and (not isinstance(every, int) or every < 1):
            raise ValueError(
                f"`anchor_every` must be a whole number of at least 1, got {every!r}. Try 16."
            )
        if not 0 < self.coupling <= 1:
            raise ValueError(f"`coupling` must lie in (0, 1], got {self.coupling}. Try 0.999.")

    def solver_for(self, solver: AbstractSolver) -> AbstractSolver:
        """A reversible solver as it is, an explicit Runge-Kutta method coupled.

        Raises:
            ValueError: it is neither.
        """
        if isinstance(solver, ReversibleSolver):
            return solver
        if isinstance(solver, ExplicitRungeKutta):
            return CoupledRungeKutta(solver, self.coupling)
        raise ValueError(
            "`solver` must be reversible or an explicit Runge-Kutta method for "
            f"gradient='reversible', got {plain(solver).name!r}. Try solver='leapfrog', or "
            "gradient='checkpointed'."
        )

    def solve(self, problem: Problem) -> Trajectory:
        """Solve without a graph, and attach the way back."""
        return solve_apart(problem, _Anchors(self.anchor_every, problem), self.name)


class _Anchors(StepRecord):
    """The end of a solve, and the starts of a few of its steps."""

    needs_end = True

    def __init__(self, every: int | None, problem: Problem) -> None:
        self.every = every
        assert isinstance(problem.solver, ReversibleSolver)
        self.solver: ReversibleSolver = problem.solver
        self.starts: dict[int, tuple[State, Memory]] = {}
        self.count = 0
        self.before: tuple[State, Memory] | None = None
        self.steps: list[AcceptedStep] = []
        self.memory = Memory()

    def remember(self, step: AcceptedStep, y: State, memory: Memory) -> None:
        """Keep anchors, and the start of a step behind which the memory is made anew."""
        i, y = self.count, y.detach()
        memory = dataclasses.replace(memory, states=tuple(x.detach() for x in memory.states))
        if step.fresh and self.before is not None:
            self.starts[i - 1] = self.before
        if self.every is not None and i and i % self.every == 0:
            self.starts[i] = (y, memory)
        self.count, self.before = i + 1, (y, memory)

    def finish(self, path: Trajectory, stats: Stats) -> None:
        """Keep the end."""
        assert path.memory is not None
        self.steps, self.memory, self.before = path.steps, path.memory, None
        ends = [*self.starts.values(), (path.y1, path.memory)]
        stats.hold(tensor_bytes([x for y, memory in ends for x in (y, *memory.states)]))

    def pull_back(
        self, sweep: Sweep, y0: State, y1: State | None, lam: State, lam_outputs: list[Tensor]
    ) -> State:
        """Undo the steps, from last to first."""
        assert y1 is not None
        y, memory, lam_memory = y1.detach(), self.memory, Memory()
        for i in reversed(range(len(self.steps))):
            step = self.steps[i]
            ends = (step.t0, step.t1)
            if i in self.starts or step.interpolates:
                if i in self.starts:
                    y, memory = self.starts[i]
                else:
                    with sweep.repeating():
                        y, memory = self.solver.inverse_step(sweep.term, *ends, y, memory)
                lam, of_states = sweep.pull(step, y, memory, lam, lam_memory.states, lam_outputs)
                lam_memory = Memory(of_states)
            else:
                lam = add_outputs(step, lam, lam_outputs)
                (y, memory), (lam, lam_memory) = self.solver.pull(
                    sweep.record, ends, (y, memory), (lam, lam_memory)
                )
            if step.fresh:
                lam = sweep.pull_start(step.t0, y if i else y0, lam, lam_memory.states)
                lam_memory = Memory()
        return lam
