"""The checkpointed gradient: the exact discrete adjoint, one recomputed step at a time.

The forward pass runs without a graph and keeps one state a step. The backward pass takes the
accepted steps from last to first, makes each again with a graph, and pulls lam = dL/dy through it.
Memory is N states and the graph of a single step; the gradient equals that of `direct`.

Idea: Zhuang et al. 2020, "Adaptive checkpoint adjoint" (ACA).
"""

import contextlib
import dataclasses
from typing import Any

import torch
from torch import Tensor

from odevision.gradient.dependencies import (
    Dependencies,
    Substitute,
    refuse_histories,
    replace_tensors,
)
from odevision.gradient.problem import Problem
from odevision.ode.loop import AcceptedStep, Ends, Trajectory, step_outputs
from odevision.ode.solver import Memory
from odevision.ode.tracing import transformed
from odevision.types import State


def solve_checkpointed(problem: Problem) -> Trajectory:
    """Solve, and attach the discrete adjoint to the outputs.

    torch.compile and the transforms of torch.func take no such detours: the solve is recorded as
    it stands under them, and a compiler decides itself what to recompute.
    """
    if not torch.is_grad_enabled() or transformed():
        return problem.integrate(problem.term(), problem.y0)
    y0 = problem.y0
    dependencies = Dependencies(problem.vector_field, problem.inputs)
    term = problem.term()
    term.vector_field = dependencies.watch(term.vector_field)
    before: list[_Before] = []

    def remember(step: AcceptedStep, y: State, memory: Memory) -> None:
        if y0.requires_grad or dependencies:
            before.append(_Before(y, memory))

    try:
        with torch.no_grad():
            path = problem.integrate(term, y0.detach(), remember)
    finally:
        if torch.is_autocast_enabled(y0.device.type):
            # Weights cast without a graph must not be served to code that needs one.
            torch.clear_autocast_cache()
    if not path.steps:  # the solve failed at once
        return dataclasses.replace(path, y1=y0)
    if not (y0.requires_grad or dependencies.found):
        return path
    forward = _Forward(problem, dependencies, path, before)
    y1, *outputs = _DiscreteAdjoint.apply(forward, y0, *dependencies.found.values())
    return dataclasses.replace(path, y1=y1, outputs=outputs)


@dataclasses.dataclass(frozen=True)
class _Before:
    """What a step starts from."""

    y: State
    memory: Memory


@dataclasses.dataclass(frozen=True)
class _Forward:
    """A finished forward pass, and what each of its steps starts from."""

    problem: Problem
    dependencies: Dependencies
    path: Trajectory
    before: list[_Before]


class _DiscreteAdjoint(torch.autograd.Function):
    """Gives a finished forward pass its backward pass."""

    @staticmethod
    def forward(ctx: Any, forward: _Forward, y0: State, *theta: Tensor) -> tuple[State, ...]:
        ctx.problem, ctx.dependencies = forward.problem, forward.dependencies
        ctx.steps = forward.path.steps
        ctx.past = [(len(b.memory.states), b.memory.times) for b in forward.before]
        ctx.device_type = y0.device.type
        ctx.autocast = autocast_state(ctx.device_type)
        states = [x for b in forward.before for x in (b.y, *b.memory.states)]
        ctx.save_for_backward(*theta, *states)
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
        lam, lam_memory, lam_outputs = lams[0], (), list(lams[1:])
        for step, (count, times) in zip(reversed(ctx.steps), reversed(ctx.past), strict=True):
            cut = len(states) - 1 - count
            (y, *past), states = states[cut:], states[:cut]
            lam, lam_memory = sweep.pull(
                step, y, Memory(tuple(past), times), lam, lam_memory, lam_outputs
            )
            if step.fresh:
                lam, lam_memory = sweep.pull_start(step.t0, y, lam, lam_memory), ()
        return None, lam, *sweep.gradients


def autocast_state(device_type: str) -> dict[str, Any]:
    """The caller's autocast. Backward runs outside of it, and has to enter it again."""
    return {
        "enabled": torch.is_autocast_enabled(device_type),
        "dtype": torch.get_autocast_dtype(device_type),
    }


class Sweep:
    """The way back: makes steps again, from last to first, and gathers the gradients of theta."""

    def __init__(self, ctx: Any, ids: list[int], theta: list[Tensor]) -> None:
        """Cut theta off from its history, and bind the field to it."""
        self.problem, self.device_type, self.autocast = ctx.problem, ctx.device_type, ctx.autocast
        # What has a history is cut off from it: its gradient flows on once, after all steps. So is
        # what has hooks: they must see the whole gradient once and not each step's part of it.
        self.theta = [
            x if x.is_leaf and not x._backward_hooks else x.detach().requires_grad_() for x in theta
        ]
        twins = {i: c for i, c, x in zip(ids, self.theta, theta, strict=True) if c is not x}
        self.twins, self.substitutes = twins, ctx.dependencies.beyond_args(twins)
        unconfirmed = ctx.dependencies.unconfirmed.values()
        self.cut_off = [*(theta if self.substitutes else ()), *unconfirmed]
        self.term = ctx.problem.term(replace_tensors(ctx.problem.inputs, twins), "backward")
        self.gradients: list[Tensor | None] = [None] * len(theta)

    def pull(
        self,
        step: AcceptedStep,
        y: State,
        memory: Memory,
        lam: Tensor,
        lam_memory: tuple[Tensor, ...],
        lam_outputs: list[Tensor],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Pull lam = dL/dy1 and dL/dmemory through a step; takes its part off `lam_outputs`."""
        with self.recording():
            y = y.detach().requires_grad_()
            past = tuple(x.detach().requires_grad_() for x in memory.states)
            solver, before = self.problem.solver, Memory(past, memory.times)
            again = solver.step(
                self.term, step.t0, step.t1, y, None, before, all_stages=step.interpolates
            )
            outputs = step_outputs(step, Ends(self.term, solver, again))
        first = len(lam_outputs) - len(outputs)
        lam_inside = lam_outputs[first:]
        del lam_outputs[first:]
        carried = zip(again.memory.states, lam_memory, strict=False)
        pairs = [(again.y1, lam), *carried, *zip(outputs, lam_inside, strict=True)]
        lam, *lam_past = self.vjp(pairs, [y, *past])
        return lam, tuple(lam_past)

    def pull_start(
        self, t0: float, y0: State, lam: Tensor, lam_memory: tuple[Tensor, ...]
    ) -> Tensor:
        """Pull dL/dmemory through the start of the solver, which makes its memory of y0."""
        if not lam_memory:
            return lam
        with self.recording():
            y0 = y0.detach().requires_grad_()
            memory = self.problem.solver.start(self.term, t0, y0)
        pairs = list(zip(memory.states, lam_memory, strict=True))
        return lam + self.vjp(pairs, [y0])[0]

    @contextlib.contextmanager
    def recording(self) -> Any:
        """Where steps are made again: with a graph, the caller's autocast and theta cut off."""
        with (
            torch.enable_grad(),
            torch.autocast(self.device_type, **self.autocast),
            Substitute(self.twins) if self.substitutes else contextlib.nullcontext(),
        ):
            yield

    def vjp(self, pairs: list[tuple[Tensor, Tensor]], inputs: list[Tensor]) -> list[Tensor]:
        """Pull the lams of outputs back to the inputs; those of theta are gathered."""
        pairs = [(output, lam) for output, lam in pairs if output.requires_grad]
        outputs, lams = [p[0] for p in pairs], [p[1] for p in pairs]
        refuse_histories(outputs, self.cut_off)
        pulled = torch.autograd.grad(outputs, [*inputs, *self.theta], lams, allow_unused=True)
        for i, gradient in enumerate(pulled[len(inputs) :]):
            self.gradients[i] = _accumulate(self.gradients[i], gradient)
        return [
            torch.zeros_like(x) if g is None else g
            for x, g in zip(inputs, pulled[: len(inputs)], strict=True)
        ]


def _accumulate(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        # A copy: autograd hands out one tensor for several inputs, or an expanded one.
        return total if gradient is None else gradient.clone()
    return total.add_(gradient)
