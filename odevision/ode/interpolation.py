"""Dense output: the state anywhere inside an accepted step."""

from odevision.ode.runge_kutta import Step, add_weighted
from odevision.ode.tableau import ButcherTableau
from odevision.types import State


def interpolate(step: Step, f1: State, tableau: ButcherTableau, t: float) -> State:
    """State at time t inside a step.

    With theta = (t - t0) / dt this is the cubic that meets y and f at both ends, plus
    theta^2 (1 - theta)^2 dt sum_i d_i k_i where the method has such weights (order 4 then, else 3).
    See Hairer, Norsett, Wanner: Solving ODEs I, section II.6.

    Args:
        step: the accepted step, with all stages where the tableau has dense weights.
        f1: f(t1, y1), of the state's shape.
        tableau: the method that made the step.
        t: a time between step.t0 and step.t1, ends included.

    Returns:
        The state at t; exactly y0 and y1 at the ends.
    """
    if t == step.t0:
        return step.y0
    if t == step.t1:
        return step.y1
    dt = step.t1 - step.t0
    theta = (t - step.t0) / dt
    rise = theta * theta * (3 - 2 * theta)
    slope0 = theta * (1 - theta) ** 2
    slope1 = theta * theta * (theta - 1)
    y = step.y0 + rise * (step.y1 - step.y0)
    y = add_weighted(y, dt, (slope0, slope1), (step.k[0], f1))
    if tableau.dense_weights is not None:
        bump = (theta * (1 - theta)) ** 2
        y = add_weighted(y, dt * bump, tableau.dense_weights, step.k)
    return y
