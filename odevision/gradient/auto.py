"""Auto: choose a gradient by the number of steps, the size of the state and the memory at hand."""

import dataclasses
import os
import weakref
from typing import Any, ClassVar, Literal

import torch

from odevision.gradient.bytes_held import graph_bytes
from odevision.gradient.checkpointed import Checkpointed
from odevision.gradient.direct import Direct
from odevision.gradient.method import AbstractGradient
from odevision.gradient.problem import Problem
from odevision.gradient.reversible import Reversible
from odevision.ode.compiled import plain
from odevision.ode.controller import PIDController
from odevision.ode.loop import Trajectory
from odevision.ode.reversible import ReversibleSolver
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.tracing import transformed

GUESSED_STEPS = 32
"""Steps that an adaptive solve is thought to take: about ten times as many as at 1e-3."""

# Bytes that one evaluation keeps, by vector field, then by what they depend on.
_KNOWN: weakref.WeakKeyDictionary[Any, dict[Any, int]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Auto(AbstractGradient):
    """`direct` where the graph of all steps fits into a budget, else `checkpointed` within it.

    With a reversible solver, `reversible` where not even one state a step fits. How much one
    evaluation of f keeps is measured once for each vector field, shape and dtype, which costs one
    evaluation. All choices are exact.

    Args:
        max_bytes: the budget; None takes a quarter of the device's memory.
    """

    max_bytes: int | None = None
    name: ClassVar[str] = "auto"
    kind: ClassVar[str] = "chooses one that is exact by steps, state and memory"
    accuracy: ClassVar[Literal["exact", "convergent"]] = "exact"

    def __post_init__(self) -> None:
        """Refuse a budget of nothing."""
        given = self.max_bytes
        if given is not None and (not isinstance(given, int) or given < 1):
            raise ValueError(
                f"`max_bytes` must be a whole number of at least 1, got {given!r}. Try 2**30, or "
                "None."
            )

    def solve(self, problem: Problem) -> Trajectory:
        """Solve with the gradient that suits."""
        return self.choose(problem).solve(problem)

    def choose(self, problem: Problem) -> AbstractGradient:
        """The gradient that suits a problem."""
        if not torch.is_grad_enabled() or transformed():
            return Direct()
        budget = self.max_bytes or device_memory(problem.y0.device) // 4
        controller, solver = problem.controller, plain(problem.solver)
        adaptive = isinstance(controller, PIDController)
        steps = GUESSED_STEPS if adaptive else len(controller.grid(problem.t0, problem.t1))
        stages = solver.tableau.num_stages if isinstance(solver, ExplicitRungeKutta) else 1
        if steps * stages * _bytes_of_one(problem) <= budget:
            return Direct()
        states = 2 if isinstance(solver, ReversibleSolver) else 1
        if states > 1 and steps * states * problem.y0.nbytes > budget:
            return Reversible()
        return Checkpointed(max_bytes=budget)


def _bytes_of_one(problem: Problem) -> int:
    """Bytes that one evaluation of f keeps for a backward pass, its result among them."""
    y0, field = problem.y0, problem.vector_field
    kind = y0.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    key = (getattr(field, "__func__", None), y0.shape, y0.dtype, kind, autocast, y0.stride())
    owner = getattr(field, "__self__", field)
    try:
        known = _KNOWN.setdefault(owner, {})
    except TypeError:  # no weak references to it
        known = {}
    if key not in known:
        y = y0.detach().requires_grad_()
        middle = 0.5 * (problem.t0 + problem.t1)  # f may jump at the ends
        slope = problem.term()(middle, y)
        known[key] = y0.nbytes + graph_bytes([slope], [y])
    return known[key]


def device_memory(device: torch.device) -> int:
    """Bytes of memory of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no such call on Windows
        return 8 * 2**30
