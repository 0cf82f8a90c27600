"""The direct gradient: autograd records the accepted steps. Exact; memory grows with the steps."""

import dataclasses
import weakref
from typing import ClassVar, Literal

import torch
from torch import Tensor

from odevision.gradient.bytes_held import graph_bytes, mark_start
from odevision.gradient.method import AbstractGradient
from odevision.gradient.problem import Problem
from odevision.ode.loop import Trajectory
from odevision.ode.tracing import transformed


@dataclasses.dataclass(frozen=True)
class Direct(AbstractGradient):
    """Autograd as it stands; rejected steps and error estimates leave nothing in the graph.

    The fastest, and the only one that can be differentiated again; keeps the graph of every
    evaluation.
    """

    name: ClassVar[str] = "direct"
    kind: ClassVar[str] = "keeps the graph of every step"
    accuracy: ClassVar[Literal["exact", "convergent"]] = "exact"

    def solve(self, problem: Problem) -> Trajectory:
        """Solve while autograd records."""
        y0, counted = problem.y0, torch.is_grad_enabled() and not transformed()
        mark = mark_start(y0) if counted else None
        path = problem.integrate(problem.term(), y0)
        if counted:
            # Weak: statistics are kept for long, and must not keep a graph.
            held = [weakref.ref(x) for x in (y0, path.y1, *path.outputs)]
            problem.stats.hold(0, lambda: _count(held, mark))
        return path


def _count(held: list[weakref.ref[Tensor]], mark: object) -> int | None:
    """Bytes of the graph between a solve's start and its ends; None where it is gone."""
    y0, *ends = (x() for x in held)
    alive = [x for x in ends if x is not None]
    try:
        return graph_bytes(alive, [] if y0 is None else [y0], mark) if alive else None
    except RuntimeError:  # a backward pass has used it up
        return None
