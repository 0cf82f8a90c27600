"""The direct gradient: autograd records the accepted steps. Exact; memory grows with the steps."""

from odevision.gradient.problem import Problem
from odevision.ode.loop import integrate
from odevision.types import State


def solve_direct(problem: Problem) -> tuple[State, list[State]]:
    """Solve with autograd as it stands.

    Rejected steps and error estimates leave nothing in the graph. Choose it where memory is no
    concern: it evaluates the vector field least.

    Returns:
        The state at t1, and the states at the save times.
    """
    return integrate(
        problem.term,
        problem.solver,
        problem.controller,
        problem.y0,
        problem.t0,
        problem.t1,
        save_times=problem.save_times,
        max_steps=problem.max_steps,
    )
