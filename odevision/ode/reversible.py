"""Reversible methods: one evaluation a step, and every step can be undone by algebra.

The state is carried together with a companion, in Memory. From the pair at the end of a step the
pair at its start follows without an iteration, up to rounding: a gradient need not store the steps.
"""

import abc
import dataclasses
from collections.abc import Callable

import torch

from odevision.ode.solver import AbstractSolver, Field, Memory, Step
from odevision.types import State

Evaluate = Callable[
    [Callable[[Field, State], State], State], tuple[State, Callable[[State], State]]
]
"""evaluate(run, x) gives run(f, x) and what pulls dL/d of it back to x: see `Sweep.record`."""

Pair = tuple[State, Memory]
"""A state and its companion; or dL/d of both."""


class ReversibleSolver(AbstractSolver):
    """A method whose steps have an algebraic inverse."""

    kind = "reversible, 1 evaluation a step"

    @abc.abstractmethod
    def inverse_step(
        self, f: Field, t0: float, t1: float, y1: State, memory: Memory
    ) -> tuple[State, Memory]:
        """Undo the step from t0 to t1, with one evaluation of f.

        Args:
            f: the vector field.
            t0: start of the step to undo.
            t1: its end.
            y1: state at t1, any shape.
            memory: what the step left.

        Returns:
            The state at t0, and the memory that the step began with.
        """

    @abc.abstractmethod
    def pull(
        self, evaluate: Evaluate, step: tuple[float, float], end: Pair, lam: Pair
    ) -> tuple[Pair, Pair]:
        """Undo a step and pull dL/d of its end back to its start; one evaluation of f for both.

        Args:
            evaluate: evaluates f, or several of its evaluations, with a graph.
            step: t0 and t1.
            end: state and memory at t1.
            lam: dL/d of both; an empty memory counts as 0.

        Returns:
            State and memory at t0, and dL/d of both.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class AsynchronousLeapfrog(ReversibleSolver):
    """Asynchronous leapfrog: y carries a velocity v, which starts as f(t0, y0).

        y_half = y0 + v0 dt / 2
        v1 = v0 + 2 damping (f(t_half, y_half) - v0)
        y1 = y_half + v1 dt / 2

    Order 2 at damping 1, and order 1 below it, where v lags behind f by dt (1 - damping) /
    (2 damping).

    On dy/dt = lam y it is weakly stable at damping 1: bounded only for lam dt on the imaginary axis
    between -i and i. Where the solution decays, v swings around f with an amplitude that grows as
    fast; the growth does not end with shorter steps, but it starts from less. Damping opens the
    stable interval of the real axis to -2 (1 - damping) / damping < lam dt < 0. Then each step that
    is undone divides the rounding in v by |1 - 2 damping|: a hundred steps lose 5 digits at damping
    0.95 and 10 at 0.9, so a long way back has to start anew from stored states.

    References: Mutze 2013, "An asynchronous leapfrog method II" (the method); Zhuang et al. 2021,
    "MALI: A memory efficient and reverse accurate integrator for Neural ODEs" (its inverse, and the
    damping in an appendix).

    Args:
        damping: how much of the velocity's error a step mends, in (0, 1] and not 1/2, where v1
            forgets v0 and the step has no inverse.
    """

    damping: float = 1.0
    order: int = dataclasses.field(init=False)
    name: str = dataclasses.field(init=False, default="leapfrog")

    def __post_init__(self) -> None:
        """Refuse a damping at which a step can't be undone."""
        if not 0 < self.damping <= 1 or self.damping == 0.5:
            raise ValueError(
                f"`damping` must lie in (0, 1] and not be 0.5, got {self.damping}. Try 1, or 0.9 "
                "where the solution decays."
            )
        object.__setattr__(self, "order", 2 if self.damping == 1 else 1)

    def start(self, f: Field, t0: float, y0: State) -> Memory:
        """The velocity f(t0, y0)."""
        return Memory((f(t0, y0),))

    def step(
        self,
        f: Field,
        t0: float,
        t1: float,
        y0: State,
        f0: State | None,
        memory: Memory,
        *,
        all_stages: bool,
    ) -> Step:
        """Attempt one step; the memory holds the velocity."""
        del all_stages
        (v0,) = memory.states
        dt = t1 - t0
        y_half = torch.add(y0, v0, alpha=0.5 * dt)
        u = f(t0 + 0.5 * dt, y_half)
        v1 = torch.lerp(v0, u, 2 * self.damping)
        y1 = torch.add(y_half, v1, alpha=0.5 * dt)
        return Step(t0, t1, y0, y1, [u], f0, None, Memory((v1,)))

    def inverse_step(
        self, f: Field, t0: float, t1: float, y1: State, memory: Memory
    ) -> tuple[State, Memory]:
        """Undo a step: the same three lines, solved for what they began with."""
        (v1,) = memory.states
        dt = t1 - t0
        y_half = torch.sub(y1, v1, alpha=0.5 * dt)
        u = f(t0 + 0.5 * dt, y_half)
        v0 = torch.lerp(u, v1, 1 / (1 - 2 * self.damping))
        return torch.sub(y_half, v0, alpha=0.5 * dt), Memory((v0,))

    def pull(
        self, evaluate: Evaluate, step: tuple[float, float], end: Pair, lam: Pair
    ) -> tuple[Pair, Pair]:
        """Undo a step on the way back; its evaluation is at the middle both ways."""
        (t0, t1), (y1, memory), (lam_y, lam_memory) = step, end, lam
        dt, keep = t1 - t0, 1 - 2 * self.damping
        (v1,) = memory.states
        y_half = torch.sub(y1, v1, alpha=0.5 * dt)
        u, pull_u = evaluate(lambda f, y: f(t0 + 0.5 * dt, y), y_half)
        v0 = torch.lerp(u, v1, 1 / keep)
        y0 = torch.sub(y_half, v0, alpha=0.5 * dt)
        if lam_memory.states:
            lam_v = torch.add(lam_memory.states[0], lam_y, alpha=0.5 * dt)
        else:
            lam_v = lam_y * (0.5 * dt)
        lam_y = lam_y + pull_u(lam_v * (2 * self.damping))
        lam_v = lam_v.mul_(keep).add_(lam_y, alpha=0.5 * dt)
        return (y0, Memory((v0,))), (lam_y, Memory((lam_v,)))

    def stage_time(self, step: Step, stage: int) -> float:
        """Time of the one evaluation: the middle of the step."""
        del stage
        return step.t0 + 0.5 * (step.t1 - step.t0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReversibleHeun(ReversibleSolver):
    """Reversible Heun: y carries a second solution z and its slope g = f(t, z).

        z1 = 2 y0 - z0 + g0 dt
        g1 = f(t1, z1)
        y1 = y0 + (g0 + g1) dt / 2

    Order 2; z starts as y0 and is of order 2 itself. On dy/dt = lam y it is weakly stable: bounded
    only for lam dt on the imaginary axis between -i and i, as asynchronous leapfrog is. Where the
    solution decays, z - y grows while it changes sign each step.

    Reference: Kidger, Foster, Li, Lyons 2021, "Efficient and accurate gradients for neural SDEs",
    section 3 (algorithms 1 and 2), without the noise.
    """

    order: int = dataclasses.field(init=False, default=2)
    name: str = dataclasses.field(init=False, default="reversible-heun")

    def start(self, f: Field, t0: float, y0: State) -> Memory:
        """The second solution y0 and its slope."""
        return Memory((y0, f(t0, y0)))

    def step(
        self,
        f: Field,
        t0: float,
        t1: float,
        y0: State,
        f0: State | None,
        memory: Memory,
        *,
        all_stages: bool,
    ) -> Step:
        """Attempt one step; the memory holds z and g."""
        del all_stages
        z0, g0 = memory.states
        dt = t1 - t0
        # y0 + (y0 - z0) and not 2 y0 - z0: the difference is small, so less is rounded away.
        z1 = torch.add(y0 + (y0 - z0), g0, alpha=dt)
        g1 = f(t1, z1)
        y1 = torch.add(y0, g0 + g1, alpha=0.5 * dt)
        return Step(t0, t1, y0, y1, [g1], f0, None, Memory((z1, g1)))

    def inverse_step(
        self, f: Field, t0: float, t1: float, y1: State, memory: Memory
    ) -> tuple[State, Memory]:
        """Undo a step: it is itself with time reversed."""
        back = self.step(f, t1, t0, y1, None, memory, all_stages=False)
        return back.y1, back.memory

    def pull(
        self, evaluate: Evaluate, step: tuple[float, float], end: Pair, lam: Pair
    ) -> tuple[Pair, Pair]:
        """Undo a step on the way back.

        It is undone by the slope at its start, and pulled back through that at its end: the graph
        of the one waits in the memory until the step before is pulled back through it.
        """
        (t0, t1), (y1, memory), (lam_y, lam_memory) = step, end, lam
        dt, (z1, g1) = t1 - t0, memory.states
        pull_g1 = memory.scratch or evaluate(lambda f, z: f(t1, z), z1)[1]
        z0 = torch.sub(y1 + (y1 - z1), g1, alpha=dt)
        g0, pull_g0 = evaluate(lambda f, z: f(t0, z), z0)
        y0 = torch.sub(y1, g0 + g1, alpha=0.5 * dt)
        lam_g = lam_y * (0.5 * dt)
        if lam_memory.states:
            lam_z = lam_memory.states[0] + pull_g1(lam_g + lam_memory.states[1])
        else:
            lam_z = pull_g1(lam_g)
        lam_start = Memory((-lam_z, torch.add(lam_g, lam_z, alpha=dt)))
        return (y0, Memory((z0, g0), scratch=pull_g0)), (
            torch.add(lam_y, lam_z, alpha=2),
            lam_start,
        )

    def stage_time(self, step: Step, stage: int) -> float:
        """Time of the one evaluation: the end of the step."""
        del stage
        return step.t1


REVERSIBLE_METHODS: dict[str, AbstractSolver] = {
    solver.name: solver for solver in (AsynchronousLeapfrog(), ReversibleHeun())
}
