"""The direct gradient: autograd records the accepted steps. Exact; memory grows with the steps."""

from odevision.gradient.problem import Problem
from odevision.ode.loop import Trajectory


def solve_direct(problem: Problem) -> Trajectory:
    """Solve with autograd as it stands.

    Rejected steps and error estimates leave nothing in the graph. Choose it where memory is no
    concern: it evaluates the vector field least.
    """
    return problem.integrate(problem.term(), problem.y0)
