"""The checkpointed gradient: the exact discrete adjoint, one recomputed step at a time.

The forward pass runs without a graph and keeps one state a step. The backward pass takes the accepted
steps from last to first, makes each again with a graph, and pulls lam = dL/dy through it. Memory is
N states and the graph of a single step; the gradient equals that of `direct`.

Idea: Zhuang et al. 2020, "Adaptive checkpoint adjoint" (ACA).
"""

import contextlib
import dataclasses
from typing import Any

import torch
from torch import Tensor

from odevision.gradient.dependencies import Substitute, find_dependencies, replace_tensors
from odevision.gradient.problem import Problem
from odevision.ode.loop import AcceptedStep, integrate, save
from odevision.ode.term import ODETerm, bind_args
from odevision.types import State


def solve_checkpointed(problem: Problem) -> tuple[State, list[State]]:
    """Solve, and attach the discrete adjoint to the outputs.

    Returns:
        The state at t1, and the states at the save times.
    """
    y0 = problem.y0
    if not torch.is_grad_enabled():
        return _run(problem, y0)
    theta = find_dependencies(problem.vector_field, problem.args, y0, problem.t0)
    if not (y0.requires_grad or theta):
        return _run(problem, y0)
    steps: list[AcceptedStep] = []
    states: list[State] = []

    def remember(step: AcceptedStep, y: State) -> None:
        steps.append(step)
        states.append(y)

    with torch.no_grad():
        y1, saved = _run(problem, y0.detach(), remember)
    if torch.is_autocast_enabled(y0.device.type):
        # Weights cast without a graph must not be served to code that needs one.
        torch.clear_autocast_cache()
    forward = _Forward(problem, steps, states, (y1, *saved))
    outputs = _DiscreteAdjoint.apply(forward, y0, *theta)
    return outputs[0], list(outputs[1:])


def _run(problem: Problem, y0: State, on_accept: Any = None) -> tuple[State, list[State]]:
    return integrate(
        problem.term,
        problem.solver,
        problem.controller,
        y0,
        problem.t0,
        problem.t1,
        save_times=problem.save_times,
        max_steps=problem.max_steps,
        on_accept=on_accept,
    )


@dataclasses.dataclass(frozen=True)
class _Forward:
    """A finished forward pass: the steps, the state each starts from, and the outputs."""

    problem: Problem
    steps: list[AcceptedStep]
    states: list[State]
    outputs: tuple[State, ...]


class _DiscreteAdjoint(torch.autograd.Function):
    """Gives a finished forward pass its backward pass."""

    @staticmethod
    def forward(ctx: Any, forward: _Forward, y0: State, *theta: Tensor) -> tuple[State, ...]:
        ctx.problem, ctx.steps = forward.problem, forward.steps
        ctx.device_type = y0.device.type
        # Backward runs outside of the caller's autocast: enter the same state again.
        ctx.autocast = {
            "enabled": torch.is_autocast_enabled(ctx.device_type),
            "dtype": torch.get_autocast_dtype(ctx.device_type),
        }
        ctx.theta_ids = [id(x) for x in theta]
        ctx.save_for_backward(*theta, *forward.states)
        return forward.outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *lams: Tensor) -> tuple[Tensor | None, ...]:
        saved = list(ctx.saved_tensors)
        theta, states = saved[: len(ctx.theta_ids)], saved[len(ctx.theta_ids) :]
        # What has a history is cut off from it: its gradient flows on once, after all steps.
        cut = [x if x.is_leaf else x.detach().requires_grad_() for x in theta]
        twins = {i: c for i, c, x in zip(ctx.theta_ids, cut, theta, strict=True) if c is not x}
        lam, lam_saved = lams[0], list(lams[1:])
        gradients: list[Tensor | None] = [None] * len(theta)
        for step in reversed(ctx.steps):
            first = len(lam_saved) - len(step.save_times)
            lam_inside, lam_saved = lam_saved[first:], lam_saved[:first]
            with torch.enable_grad(), torch.autocast(ctx.device_type, **ctx.autocast):
                y = states.pop().detach().requires_grad_()
                outputs = _repeat(ctx.problem, step, y, twins)
            pulled = torch.autograd.grad(outputs, [y, *cut], [lam, *lam_inside], allow_unused=True)
            lam = torch.zeros_like(y) if pulled[0] is None else pulled[0]
            for i, gradient in enumerate(pulled[1:]):
                gradients[i] = _accumulate(gradients[i], gradient)
        return None, lam, *gradients


def _repeat(
    problem: Problem, step: AcceptedStep, y: State, twins: dict[int, Tensor]
) -> list[State]:
    """Make an accepted step again: its end state, then the states saved inside it."""
    args = replace_tensors(problem.args, twins)
    f = bind_args(problem.vector_field, args)
    term = ODETerm(f, problem.term.stats, phase="backward")
    inside = bool(step.save_times)
    closed_over = bool(twins) and not _all_in(twins, args)
    with Substitute(twins) if closed_over else contextlib.nullcontext():
        again = problem.solver.step(term, step.t0, step.t1, y, None, all_stages=inside)
        saved, _ = save(term, problem.solver, again, step.save_times)
    return [again.y1, *saved]


def _all_in(twins: dict[int, Tensor], args: Any) -> bool:
    """Whether the exchanged tensors are all among the (flat) arguments."""
    present = {id(x) for x in args} if isinstance(args, tuple) else set()
    return all(id(twin) in present for twin in twins.values())


def _accumulate(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        return gradient if total is None else total
    return total.add_(gradient)
