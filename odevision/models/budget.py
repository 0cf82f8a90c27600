"""What a solve with constant steps costs, and the steps that a budget of evaluations pays for."""

import functools

import torch

from odevision.gradient import GRADIENTS
from odevision.ode.solvers import SOLVERS
from odevision.solve import DEFAULT_MAX_STEPS, odesolve, unknown_name


@functools.cache
def evaluations(solver: str, num_steps: int, *, gradient: str = "direct") -> int:
    """Count the evaluations of f in a solve with constant steps.

    The engine itself is asked, with a number as the state: so the stages that only an error
    estimate needs (dopri5 takes 6 a step here, not 7), the first evaluation of leapfrog, the start
    of a multistep method and the second solution that a reversible gradient carries are counted as
    they are.

    Args:
        solver: its name.
        num_steps: constant steps.
        gradient: name of the gradient, which may change the method.

    Returns:
        Evaluations in the forward pass of one block.

    Raises:
        ValueError: there is no such solver, or its cost depends on f.
    """
    if solver not in SOLVERS:
        raise ValueError(unknown_name("solver", solver, SOLVERS))
    if SOLVERS[solver].iterates:
        raise ValueError(
            f"`solver` must take a number of evaluations that is known beforehand, got {solver}, "
            "which iterates. Try --num-steps in place of --nfe, or another solver."
        )
    with torch.no_grad():
        solution = odesolve(
            lambda t, y: torch.zeros_like(y),
            torch.zeros(1),
            0.0,
            1.0,
            solver=solver,
            num_steps=num_steps,
            gradient=GRADIENTS[gradient],
            max_steps=num_steps,
        )
    return solution.stats.nfe_forward


def most_steps(solver: str, nfe: int, *, gradient: str = "direct") -> int:
    """Return the largest number of constant steps within a budget; 0 where not one fits.

    Args:
        solver: its name.
        nfe: most evaluations of f in a block.
        gradient: name of the gradient.

    Raises:
        ValueError: there is no such solver, or its cost depends on f.
    """
    # A step takes one evaluation at least, and more steps never fewer.
    low, high = 0, max(nfe, 0)
    while low < high:
        middle = (low + high + 1) // 2
        if evaluations(solver, middle, gradient=gradient) <= nfe:
            low = middle
        else:
            high = middle - 1
    return low


def steps_for(solver: str, nfe: int, *, gradient: str = "direct") -> int:
    """Return the number of constant steps that take exactly `nfe` evaluations of f.

    Args:
        solver: its name.
        nfe: evaluations of f in a block.
        gradient: name of the gradient.

    Raises:
        ValueError: no number of steps takes so many; the message names the nearest that work.
    """
    if nfe > DEFAULT_MAX_STEPS:
        raise ValueError(f"`nfe` must be at most {DEFAULT_MAX_STEPS}, got {nfe}. Try 16.")
    steps = most_steps(solver, nfe, gradient=gradient)
    if steps > 0 and evaluations(solver, steps, gradient=gradient) == nfe:
        return steps
    near = [evaluations(solver, n, gradient=gradient) for n in (steps, steps + 1) if n > 0]
    raise ValueError(
        f"`nfe` must be a number of evaluations that whole steps of {solver} take in a block, got "
        f"{nfe}. Try {' or '.join(map(str, near))}."
    )
