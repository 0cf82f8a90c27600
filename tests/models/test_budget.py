import pytest

from odevision.models.budget import evaluations, most_steps, steps_for
from odevision.ode.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_a_step_costs_the_stages_that_the_solution_needs(name: str) -> None:
    stages = METHODS[name].num_solution_stages
    assert [evaluations(name, steps) for steps in (1, 3)] == [stages, 3 * stages]


def test_leapfrog_pays_once_for_its_first_velocity() -> None:
    assert steps_for("leapfrog", 8) == 7


def test_a_reversible_gradient_doubles_the_cost() -> None:
    assert steps_for("midpoint", 8, gradient="reversible") == 2


@pytest.mark.parametrize("name", ["euler", "rk4", "dopri5", "leapfrog", "adams-bashforth2"])
@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_steps_and_evaluations_are_inverse(name: str, num_steps: int) -> None:
    assert steps_for(name, evaluations(name, num_steps)) == num_steps


def test_what_no_whole_steps_take_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="got 8. Try 6 or 12"):
        steps_for("dopri5", 8)
    with pytest.raises(ValueError, match="Try 4[.]"):
        steps_for("rk4", 3)
    with pytest.raises(ValueError, match="Try 2[.]"):
        steps_for("midpoint", 0)


def test_a_budget_pays_for_the_steps_that_fit() -> None:
    assert [most_steps("dopri5", nfe) for nfe in (5, 6, 11, 12)] == [0, 1, 1, 2]


def test_a_solver_that_iterates_is_refused() -> None:
    with pytest.raises(ValueError, match="iterates"):
        steps_for("implicit-euler", 4)


def test_a_budget_without_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        steps_for("euler", 10**9)
