"""pull_by_stages: the adjoint of one explicit Runge-Kutta step with the graph of a single stage.

With k_i = f(t_i, Y_i), Y_i = y0 + dt sum_j a_ij k_j and y1 = y0 + dt sum_i b_i k_i, from the last
stage to the first

    w_i = (df/dy)^T dt (b_i lam + sum_{j > i} a_ji w_j)    and then    dL/dy0 = lam + sum_i w_i.

Reference: Matsubara, Miyatake, Yaguchi 2021, "Symplectic adjoint method for exact gradient of
neural ODE with minimal memory", algorithm 2.
"""

from odevision.gradient.sweep import Sweep
from odevision.ode.loop import AcceptedStep
from odevision.ode.runge_kutta import add_weighted, rk_step
from odevision.ode.tableau import ButcherTableau, Row
from odevision.types import Scalar, State


def pull_by_stages(
    sweep: Sweep, tableau: ButcherTableau, step: AcceptedStep, y0: State, lam: State
) -> State:
    """Pull lam = dL/dy1 through a step.

    Args:
        sweep: evaluates f, and gathers the gradients of all that it depends on.
        tableau: the method.
        step: what to pull back through.
        y0: the state it started from.
        lam: dL/dy1, of y0's shape.

    Returns:
        dL/dy0.
    """
    points: list[tuple[float | Scalar, State]] = []

    def noting(t: float | Scalar, y: State) -> State:
        points.append((t, y))
        return sweep.term(t, y)

    with sweep.repeating():
        rk_step(noting, tableau, step.t0, step.t1, y0.detach(), all_stages=False)
    pulled: dict[int, State] = {}
    for i in reversed(range(len(points))):
        t, y = points.pop()
        weights = [tableau.solution_row.all[i], *(tableau.stage_rows[j].all[i] for j in pulled)]
        mu = Row(weights)
        if not mu.indices:
            continue
        of_stage = add_weighted(None, step.t1 - step.t0, mu, [lam, *pulled.values()])
        _, pull = sweep.record(lambda f, x, t=t: f(t, x), y)
        pulled[i] = pull(of_stage)
    return add_weighted(lam, 1.0, Row([1.0] * len(pulled)), list(pulled.values()))
