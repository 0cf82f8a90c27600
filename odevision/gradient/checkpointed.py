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
from odevision.ode.loop import AcceptedStep, OnAccept, integrate, save
from odevision.ode.term import ODETerm, bind_args
from odevision.types import State


def solve_checkpointed(problem: Problem) -> tuple[State, list[State]]:
    """Solve, and attach the discrete adjoint to the outputs.

    Returns:
        The state at t1, and the states at the save times.
    """
    y0, term = problem.y0, problem.term
    if not torch.is_grad_enabled():
        return _run(problem, term, y0)
    dependencies = Dependencies(problem.vector_field, problem.args)
    term = dataclasses.replace(term, vector_field=dependencies.watch(term.vector_field))
    steps: list[AcceptedStep] = []
    states: list[State] = []

    def remember(step: AcceptedStep, y: State) -> None:
        if y0.requires_grad or dependencies:
            steps.append(step)
            states.append(y)

    try:
        with torch.no_grad():
            y1, saved = _run(problem, term, y0.detach(), remember)
    finally:
        if torch.is_autocast_enabled(y0.device.type):
            # Weights cast without a graph must not be served to code that needs one.
            torch.clear_autocast_cache()
    if not (y0.requires_grad or dependencies.found):
        return y1, saved
    forward = _Forward(problem, dependencies, steps, states, (y1, *saved))
    outputs = _DiscreteAdjoint.apply(forward, y0, *dependencies.found.values())
    return outputs[0], list(outputs[1:])


def _run(
    problem: Problem, term: ODETerm, y0: State, on_accept: OnAccept | None = None
) -> tuple[State, list[State]]:
    return integrate(
        term,
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
    dependencies: Dependencies
    steps: list[AcceptedStep]
    states: list[State]
    outputs: tuple[State, ...]


class _DiscreteAdjoint(torch.autograd.Function):
    """Gives a finished forward pass its backward pass."""

    @staticmethod
    def forward(ctx: Any, forward: _Forward, y0: State, *theta: Tensor) -> tuple[State, ...]:
        ctx.problem, ctx.steps = forward.problem, forward.steps
        ctx.dependencies = forward.dependencies
        ctx.device_type = y0.device.type
        # Backward runs outside of the caller's autocast: enter the same state again.
        ctx.autocast = {
            "enabled": torch.is_autocast_enabled(ctx.device_type),
            "dtype": torch.get_autocast_dtype(ctx.device_type),
        }
        ctx.save_for_backward(*theta, *forward.states)
        return forward.outputs

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
        # What has a history is cut off from it: its gradient flows on once, after all steps. So is
        # what has hooks: they must see the whole gradient once and not each step's part of it.
        cut = [
            x if x.is_leaf and not x._backward_hooks else x.detach().requires_grad_() for x in theta
        ]
        twins = {i: c for i, c, x in zip(ids, cut, theta, strict=True) if c is not x}
        substitute = ctx.dependencies.beyond_args(twins)
        cut_off = [*(theta if substitute else ()), *ctx.dependencies.unconfirmed.values()]
        term = _backward_term(ctx.problem, twins)
        lam, lam_saved = lams[0], list(lams[1:])
        gradients: list[Tensor | None] = [None] * len(theta)
        for step in reversed(ctx.steps):
            first = len(lam_saved) - len(step.save_times)
            lam_inside, lam_saved = lam_saved[first:], lam_saved[:first]
            with (
                torch.enable_grad(),
                torch.autocast(ctx.device_type, **ctx.autocast),
                Substitute(twins) if substitute else contextlib.nullcontext(),
            ):
                y = states.pop().detach().requires_grad_()
                outputs = _repeat(ctx.problem, term, step, y)
            refuse_histories(outputs, cut_off)
            pulled = torch.autograd.grad(outputs, [y, *cut], [lam, *lam_inside], allow_unused=True)
            lam = torch.zeros_like(y) if pulled[0] is None else pulled[0]
            for i, gradient in enumerate(pulled[1:]):
                gradients[i] = _accumulate(gradients[i], gradient)
        return None, lam, *gradients


def _backward_term(problem: Problem, twins: dict[int, Tensor]) -> ODETerm:
    f = bind_args(problem.vector_field, replace_tensors(problem.args, twins))
    return ODETerm(f, problem.term.stats, phase="backward")


def _repeat(problem: Problem, term: ODETerm, step: AcceptedStep, y: State) -> list[State]:
    """Make an accepted step again: its end state, then the states saved inside it."""
    again = problem.solver.step(term, step.t0, step.t1, y, None, all_stages=step.interpolates)
    saved, _ = save(term, problem.solver, again, step.save_times)
    return [again.y1, *saved]


def _accumulate(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        # A copy: autograd hands out one tensor for several inputs, or an expanded one.
        return total if gradient is None else gradient.clone()
    return total.add_(gradient)
