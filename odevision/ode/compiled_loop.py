"""The accept/reject loop inside of a graph: several attempted steps a call, and one host read.

A compiled step of a small field takes less time than Python needs to judge it. Where nothing but
the end of a solve is wanted, the controller can judge it inside of the graph. The ordinary loop
makes the first estimate of the step size before, and takes over where a step cannot be mended.
"""

import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from odevision.ode.compiled import CompiledRungeKutta, bind, measured, scaled_step
from odevision.ode.controller import Controller, PIDController, Proposal, without_start
from odevision.ode.loop import AcceptedStep, Ahead, OnAccept, Trajectory, Wanted
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solution import LATEST
from odevision.ode.solver import AbstractSolver, Memory
from odevision.ode.state import StateLayout
from odevision.ode.term import ODETerm
from odevision.ode.tracing import recording
from odevision.types import State, VectorField

STEPS_A_CALL = 4
"""8 gain 15 % on long solves, but waste more steps behind t1 and take twice as long to compile."""

MOST_ENTRIES = 32_768
"""Of larger states a step takes longer than Python, and those behind t1 would cost too much."""

# Kernels launched from Python take a fourth more time. On a GPU this would need CUDA's headers.
_CPU_OPTIONS = {"cpp_wrapper": True}


def compiled_loop(
    solver: AbstractSolver,
    controller: Controller,
    wanted: Wanted,
    term: ODETerm,
    t1: float,
    max_steps: int,
    on_accept: OnAccept | None,
) -> Ahead | None:
    """What goes ahead of the ordinary loop, or None where that has to make each step.

    Args:
        solver: only a compiled one with its last stage at the end of the step goes ahead.
        controller: only a PIDController without times to land on.
        wanted: nothing but the end and what `on_accept` records.
        term: the vector field.
        t1: end time.
        max_steps: most attempted steps.
        on_accept: told about each accepted step.
    """
    if not isinstance(solver, CompiledRungeKutta) or not solver.base.tableau.fsal:
        return None
    if not isinstance(controller, PIDController) or controller.step_points:
        return None
    if controller.jump_points or recording():
        return None
    if wanted != Wanted(save_slack=wanted.save_slack):
        return None

    def ahead(path: Trajectory, f0: State, proposal: Proposal) -> tuple[State, Proposal]:
        loop = _Loop(solver, controller, term, t1, max_steps, on_accept)
        return loop.run(path, f0, proposal)

    return ahead


class _Control(NamedTuple):
    """What the controller knows before a step; in the graph a float64 vector.

    Attributes:
        t: start of the step.
        length: of the step, without its sign.
        accepted: whether the step before counts, 0 or 1.
        one, two: error ratios of the last two steps that count; 1 where there are none.
        count: attempted steps so far.
        stopped: whether the ordinary loop has to go on from here, 0 or 1.
    """

    t: Any
    length: Any
    accepted: Any = 1.0
    one: Any = 1.0
    two: Any = 1.0
    count: Any = 0.0
    stopped: Any = 0.0


@dataclasses.dataclass(frozen=True)
class _Loop:
    solver: CompiledRungeKutta
    controller: PIDController
    term: ODETerm
    t1: float
    max_steps: int
    on_accept: OnAccept | None

    def run(self, path: Trajectory, f0: State, proposal: Proposal) -> tuple[State, Proposal]:
        """Extend the path to t1, or to where the ordinary loop must go on; f0 and dt there."""
        t0, t1, y, term = path.t, self.t1, path.y1.detach(), self.term
        if y.numel() > MOST_ENTRIES:
            return f0, proposal
        options = _CPU_OPTIONS if y.device.type == "cpu" else None
        few = self.solver.graph(
            ("loop", without_start(self.controller), STEPS_A_CALL), _few_steps, options
        )
        evaluations = STEPS_A_CALL * (self.solver.base.tableau.num_stages - 1)
        direction = math.copysign(1.0, t1 - t0)
        tick = 4 * sys.float_info.epsilon * max(abs(t0), abs(t1))
        # The ordinary loop makes the last steps that are allowed: it can tell what stopped them.
        limit = float(self.max_steps - LATEST - term.stats.num_steps)
        settings = torch.tensor([t1, direction, tick, limit], dtype=torch.float64).to(y.device)
        now = _Control(t0, abs(proposal.dt))
        control = torch.tensor(now, dtype=torch.float64).to(y.device)
        while now.t != t1 and now.count < limit and not now.stopped:
            term.count(evaluations)
            controls, states, f0 = few(
                self.solver.vector_field, term.args, settings, control, y, f0
            )
            control, y = controls[-1], states[-1]
            # The one host read of several steps.
            for row, state in zip(controls.tolist(), states, strict=True):
                now = self._record(path, now, _Control(*row), state)
        history = (now.one, now.two)
        return f0, Proposal(bool(now.accepted), direction * now.length, history=history)

    def _record(self, path: Trajectory, before: _Control, after: _Control, y1: State) -> _Control:
        if after.count == before.count:
            return after
        stats = self.term.stats
        stats.num_steps += 1
        if not after.accepted:
            stats.num_rejected_steps += 1
            return after
        stats.num_accepted_steps += 1
        step = AcceptedStep(before.t, after.t, fresh=not path.steps)
        if self.on_accept is not None:
            self.on_accept(step, path.y1, Memory())
        path.steps.append(step)
        path.t, path.y1 = after.t, y1
        stats.dt_first = stats.dt_first or abs(after.t - before.t)
        stats.dt_warm = stats.dt_warm or after.length
        stats.dt_last = after.length
        return after


def _few_steps(
    base: ExplicitRungeKutta, layout: StateLayout | None, controller: PIDController, count: int
) -> Any:
    def few(
        vector_field: VectorField,
        args: Any,
        settings: Tensor,
        control: Tensor,
        y: State,
        f0: State,
    ) -> tuple[Tensor, list[State], State]:
        f = bind(layout, vector_field, args)
        now, controls, states = _Control(*control.unbind()), [], []
        for _ in range(count):
            now, y, f0 = _attempt(base, controller, f, settings, now, y, f0)
            controls.append(torch.stack(list(now)))
            states.append(y)
        return torch.stack(controls), states, f0

    return few


def _attempt(
    base: ExplicitRungeKutta,
    controller: PIDController,
    f: Callable[..., State],
    settings: Tensor,
    now: _Control,
    y0: State,
    f0: State,
) -> tuple[_Control, State, State]:
    """Attempt a step as `integrate` does; where there is nothing to do any more, change nothing."""
    t1, direction, tick, limit = settings.unbind()
    left = (t1 - now.t).abs()
    live = (left > 0) & (now.count < limit) & (now.stopped == 0)
    shortest = torch.minimum(tick, left)
    length = torch.maximum(now.length, shortest)
    end = torch.where(left <= 1.01 * length, t1, now.t + direction * length)
    end = torch.where(live, end, now.t)
    taken = (end - now.t).abs()

    y1, slopes, k = scaled_step(base, f, now.t, end, y0, f0, all_stages=True)
    ratio = measured(base, controller, y0, y1, k).double()
    accept, following, ratio = _judge(controller, base, now, ratio, taken)
    # What a shorter step cannot mend, or only one that follows a look at f, is the ordinary loop's.
    least = shortest.clamp(min=controller.dt_min)
    mendable = torch.isfinite(ratio) & (accept | (following >= least))
    valid, stopped = live & mendable, live & ~mendable
    accept = valid & accept
    # A step that was shortened to land says little about what is possible.
    shortened = accept & (taken < 0.99 * now.length)
    following = torch.where(shortened, torch.maximum(now.length, following), following)
    after = _Control(
        t=torch.where(accept, end, now.t),
        length=torch.where(valid, following, now.length),
        accepted=torch.where(valid, accept.double(), now.accepted),
        one=torch.where(accept, ratio, now.one),
        two=torch.where(accept, now.one, now.two),
        count=now.count + valid.double(),
        stopped=torch.maximum(now.stopped, stopped.double()),
    )
    return after, torch.where(accept, y1, y0), torch.where(accept, slopes[-1], f0)


def _judge(
    controller: PIDController,
    base: ExplicitRungeKutta,
    now: _Control,
    ratio: Tensor,
    taken: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """`PIDController.adapt` in a graph: does the step count, the next one's length, the ratio."""
    c = controller
    assert base.embedded_order is not None
    exponent = base.embedded_order + 1
    ratio = ratio / c._left_out
    accept = (ratio <= 1) | (taken <= c._least)
    one, two = now.one.clamp(min=1e-10), now.two.clamp(min=1e-10)
    b1 = (c.proportional + c.integral + c.derivative) / exponent
    b2, b3 = -(c.proportional + 2 * c.derivative) / exponent, c.derivative / exponent
    factor = c.safety * ratio**-b1
    if b2 or b3:
        factor = factor * one**-b2 * two**-b3
    factor = torch.where(ratio == 0, c.max_factor, factor)
    # A step that just failed must not grow right away.
    most = torch.where(now.accepted > 0, c.max_factor, 1.0)
    factor = torch.minimum(factor, torch.where(accept, most, c.safety))
    factor = factor.clamp(c.min_factor, c.max_factor)
    return accept, (taken * factor).clamp(c.dt_min, c.dt_max), ratio
