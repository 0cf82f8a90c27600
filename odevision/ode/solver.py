"""AbstractSolver: what every family of methods offers to the loop, and the Step that it makes."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

from odevision.types import Scalar, State

Field = Callable[[float | Scalar, State], State]
"""f(t, y) as solvers call it; t is a number, or a zero-dimensional tensor made for many at once."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a solver carries from step to step beside y; empty for one-step methods.

    Attributes:
        states: tensors of y's shape, such as older slopes; gradients flow through them.
        times: numbers on the host, such as the times of these slopes.
        scratch: space that each step overwrites; no part of what is carried.
    """

    states: tuple[State, ...] = ()
    times: tuple[float, ...] = ()
    scratch: Any = None


@dataclasses.dataclass(frozen=True)
class Step:
    """One attempted step from (t0, y0) to (t1, y1).

    Attributes:
        t0, t1: its ends, in ODE time.
        y0, y1: the states there.
        k: the stages; error estimates and interpolants are made of them.
        f0: f(t0, y0) where the step knows it.
        f1: f(t1, y1) where the method yields it (FSAL), else None.
        memory: what the next step of the same solve needs.
        converged: False where an implicit method did not find its stages.
        error_ratio: the error in units of the tolerance, where the step measured it itself.
    """

    t0: float
    t1: float
    y0: State
    y1: State
    k: list[State]
    f0: State | None
    f1: State | None
    memory: Memory = Memory()
    converged: bool = True
    error_ratio: Scalar | None = None


class AbstractSolver(abc.ABC):
    """Makes steps. Holds settings only: all that changes goes through Memory.

    Attributes:
        name: the word users type.
        kind: what makes it special, in few words for lists.
        order: p, so that the global error falls like dt^p.
        embedded_order: order of the solution that estimates the error; None where there is none.
        lands_on_saves: the interpolant is less accurate than a step, so that the loop shortens
            steps to land on saved times.
        has_bump: `bump` gives a term of the interpolant.
        iterates: steps are found by an iteration, which looks at the state on the host.
        noise_gain: error estimate over dt that rounding errors of size 1 in all slopes make.
    """

    name: str
    kind: str
    order: int
    embedded_order: int | None = None
    lands_on_saves: bool = False
    has_bump: bool = False
    noise_gain: float = 1.0
    iterates: bool = False

    @property
    def adaptive(self) -> bool:
        """Whether a step has an error estimate to adapt its length by."""
        return self.embedded_order is not None

    def start(self, f: Field, t0: float, y0: State) -> Memory:
        """What the first step finds in its memory."""
        del f, t0, y0
        return Memory()

    @abc.abstractmethod
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
        """Attempt one step.

        Args:
            f: the vector field, called as f(t, y).
            t0: start of the step.
            t1: end of the step; before t0 where time runs backward.
            y0: state at t0, any shape.
            f0: f(t0, y0) where it is known.
            memory: what the step before left.
            all_stages: the error estimate or the interpolant will be asked for.
        """

    def error(self, step: Step) -> State:
        """Local error estimate of a step made with all stages, of the state's shape."""
        raise NotImplementedError(f"{self.name} has no error estimate")

    def bump(self, step: Step) -> State | None:
        """What lifts the cubic interpolant of a step to order 4; None where there is no such term.

        See `Interpolant`. The step was made with all stages.
        """
        del step
        return None

    def stage_time(self, step: Step, stage: int) -> float:
        """Time at which a stage of the step was evaluated."""
        del stage
        return step.t0
