"""Sweep: the way back through a solve, on which steps are made again with a graph."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from odevision.gradient.dependencies import (
    Dependencies,
    Substitute,
    refuse_histories,
    replace_tensors,
)
from odevision.ode.loop import AcceptedStep, Ends, step_outputs
from odevision.ode.solver import Memory
from odevision.types import State


def autocast_state(device_type: str) -> dict[str, Any]:
    """The caller's autocast. Backward runs outside of it, and has to enter it again."""
    return {
        "device_type": device_type,
        "enabled": torch.is_autocast_enabled(device_type),
        "dtype": torch.get_autocast_dtype(device_type),
    }


class Sweep:
    """Makes steps again, from last to first, and gathers the gradients of theta.

    Args:
        problem: what was solved.
        dependencies: the tensors theta, by id.
        theta: the same tensors as autograd kept them.
        autocast: the caller's in the forward pass.

    Attributes:
        gradients: dL/dtheta so far, added up in place; None where nothing arrived.
    """

    def __init__(
        self,
        problem: Any,
        dependencies: Dependencies,
        theta: list[Tensor],
        autocast: dict[str, Any],
    ) -> None:
        """Cut theta off from its history, and bind the field to it."""
        self.problem, self.autocast = problem, autocast
        # What has a history is cut off from it: its gradient flows on once, after all steps. So is
        # what has hooks: they must see the whole gradient once and not each step's part of it.
        self.theta = [
            x if x.is_leaf and not x._backward_hooks else x.detach().requires_grad_() for x in theta
        ]
        ids = dependencies.found
        twins = {i: c for i, c, x in zip(ids, self.theta, theta, strict=True) if c is not x}
        self.twins, self.substitutes = twins, dependencies.beyond_args(twins)
        unconfirmed = dependencies.unconfirmed.values()
        self.cut_off = [*(theta if self.substitutes else ()), *unconfirmed]
        self.term = problem.term(replace_tensors(problem.inputs, twins), "backward")
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
        lam_inside = _take_last(lam_outputs, len(outputs))
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

    def record(
        self, run: Callable[[Any, State], State], x: State
    ) -> tuple[State, Callable[[Tensor], Tensor]]:
        """Evaluate run(f, x) with a graph.

        Returns:
            Its value, and a function that pulls dL/dvalue back to x.
        """
        with self.recording():
            x = x.detach().requires_grad_()
            value = run(self.term, x)
        return value.detach(), lambda lam: self.vjp([(value, lam)], [x])[0]

    @contextlib.contextmanager
    def recording(self) -> Any:
        """Where steps are made again: with a graph, the caller's autocast and theta cut off."""
        with (
            torch.enable_grad(),
            torch.autocast(**self.autocast),
            Substitute(self.twins) if self.substitutes else contextlib.nullcontext(),
        ):
            yield

    @contextlib.contextmanager
    def repeating(self) -> Any:
        """Where steps are made again without a graph, to get to a state that was not kept."""
        with torch.no_grad(), torch.autocast(**self.autocast):
            yield

    def vjp(self, pairs: list[tuple[Tensor, Tensor]], inputs: list[Tensor]) -> list[Tensor]:
        """Pull the lams of outputs back to the inputs; those of theta are gathered."""
        pulled = self.pulled(pairs, [*inputs, *self.theta])
        for i, gradient in enumerate(pulled[len(inputs) :]):
            self.gradients[i] = _accumulate(self.gradients[i], gradient)
        return [
            torch.zeros_like(x) if g is None else g
            for x, g in zip(inputs, pulled[: len(inputs)], strict=True)
        ]

    def pulled(
        self, pairs: list[tuple[Tensor, Tensor]], inputs: list[Tensor]
    ) -> list[Tensor | None]:
        """Pull the lams of outputs back to the inputs; None where nothing arrives."""
        pairs = [(output, lam) for output, lam in pairs if output.requires_grad]
        if not pairs:
            return [None] * len(inputs)
        outputs, lams = [p[0] for p in pairs], [p[1] for p in pairs]
        refuse_histories(outputs, self.cut_off)
        return list(torch.autograd.grad(outputs, inputs, lams, allow_unused=True))


def add_outputs(step: AcceptedStep, lam: Tensor, lam_outputs: list[Tensor]) -> Tensor:
    """Add dL/doutputs of a step whose outputs all are its end; takes them off `lam_outputs`."""
    for lam_output in _take_last(lam_outputs, len(step.save_times)):
        lam = lam + lam_output
    return lam


def _take_last(values: list[Tensor], count: int) -> list[Tensor]:
    first = len(values) - count
    taken = values[first:]
    del values[first:]
    return taken


def _accumulate(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        # A copy: autograd hands out one tensor for several inputs, or an expanded one.
        return total if gradient is None else gradient.clone()
    return total.add_(gradient)
