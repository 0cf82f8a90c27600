"""Problem: one initial value problem, checked and bound, as every gradient method receives it."""

import dataclasses
from typing import Any, Literal

from torch import Tensor

from odevision.ode.clock import Clock, SpanClock
from odevision.ode.compiled_loop import compiled_loop
from odevision.ode.compiled_solve import solve_in_one_graph
from odevision.ode.controller import Controller
from odevision.ode.independent import SampleField
from odevision.ode.loop import OnAccept, Trajectory, Wanted, integrate
from odevision.ode.solution import Stats
from odevision.ode.solver import AbstractSolver
from odevision.ode.state import StateLayout
from odevision.ode.term import ODETerm, bind_args
from odevision.types import State, VectorField


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """What to solve and how.

    Attributes:
        vector_field: the user's callable, where the gradient looks for tensors to reach.
        args: the user's arguments to it.
        ends: tensors for t0 and t1 where their gradients are asked for, else None.
        layout: how a nested state is packed; None where the state is one tensor.
        stats: where evaluations and steps are counted.
        solver: makes one step.
        controller: chooses and judges the steps.
        y0: state at t0, packed.
        t0, t1: the ends, in ODE time.
        wanted: what to hand out beside the end.
        max_steps: most attempted steps.
        one_graph: compile the solve as a whole where nobody is told about its steps.
        one_clock: all samples share it. Else `ends` are the ends of each sample's solve, shape
            (batch,), and t0 and t1 those of s, 0 and 1, at which each sample is at its own t.
    """

    vector_field: VectorField
    args: Any
    ends: tuple[Tensor | None, Tensor | None]
    layout: StateLayout | None
    stats: Stats
    solver: AbstractSolver
    controller: Controller
    y0: State
    t0: float
    t1: float
    wanted: Wanted
    max_steps: int
    one_clock: bool = True
    one_graph: bool = False

    @property
    def inputs(self) -> tuple[Any, ...]:
        """All that f receives beside t and y, to look for tensors with gradients in."""
        return (self.args, self.ends)

    def term(
        self,
        inputs: tuple[Any, ...] | None = None,
        phase: Literal["forward", "backward"] = "forward",
    ) -> ODETerm:
        """The vector field bound to its inputs, or to others in their place."""
        args, ends = self.inputs if inputs is None else inputs
        if not self.one_clock:
            field = SampleField(self.vector_field, args, self.layout, len(self.y0))
            return ODETerm(field.on(None), self.stats, phase, SpanClock(ends[0], ends[1]))
        f = bind_args(self.vector_field, args)
        if self.layout is not None:
            f = self.layout.field(f)
        return ODETerm(f, self.stats, phase, self.clock(ends), args)

    def clock(self, ends: tuple[Tensor | None, Tensor | None] | None = None) -> Clock | None:
        """What carries the gradients of t0 and t1, or of others in their place."""
        ends = self.ends if ends is None else ends
        if ends == (None, None):
            return None
        return Clock(self.t0, self.t1, ends, tuple(map(float, self.controller.jump_points)))

    def integrate(self, term: ODETerm, y0: State, on_accept: OnAccept | None = None) -> Trajectory:
        """Run the loop."""
        if self.one_graph and on_accept is None:
            return solve_in_one_graph(
                self.vector_field, self.args, self.layout, self.solver, self.controller, y0,
                (self.t0, self.t1), self.stats,
            )  # fmt: skip
        ahead = compiled_loop(
            self.solver, self.controller, self.wanted, term, self.t1, self.max_steps, on_accept
        )
        return integrate(
            term,
            self.solver,
            self.controller,
            y0,
            self.t0,
            self.t1,
            wanted=self.wanted,
            max_steps=self.max_steps,
            on_accept=on_accept,
            ahead=ahead,
        )
