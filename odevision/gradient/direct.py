"""The direct gradient: autograd records the accepted steps. Exact; memory grows with the steps."""

import dataclasses
from typing import ClassVar, Literal

from odevision.gradient.method import AbstractGradient
from odevision.gradient.problem import Problem
from odevision.ode.loop import Trajectory


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
        return problem.integrate(problem.term(), problem.y0)
