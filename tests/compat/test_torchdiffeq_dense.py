"""odeint_dense: the solution as a function of time."""

from types import ModuleType

import pytest
import torch
from problems import DOUBLE, error, spiral
from torch import Tensor

from odevision.compat import torchdiffeq as drop_in


def test_the_function_gives_the_state_at_any_time(library: ModuleType) -> None:
    problem = spiral()
    t0, t1 = (torch.tensor(t, dtype=DOUBLE) for t in (problem.t0, problem.t1))
    y = library.odeint_dense(problem.vector_field, problem.y0, t0, t1)
    for t in (0.01, 0.7, 1.33, 1.99):
        at = y(torch.tensor(t, dtype=DOUBLE))
        assert at.shape == problem.y0.shape
        assert error(at, problem.exact(t)) < 1e-6


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "tsit5", "bosh3"])
def test_every_adaptive_method_is_dense_in_both_directions(method: str) -> None:
    problem = spiral()
    y = drop_in.odeint_dense(
        problem.vector_field, problem.y1, problem.t1, problem.t0, method=method
    )
    assert error(y(0.77), problem.exact(0.77)) < 1e-5


def test_a_vector_of_times_gives_a_stack_of_states() -> None:
    problem = spiral()
    y = drop_in.odeint_dense(problem.vector_field, problem.y0, problem.t0, problem.t1)
    t = torch.tensor([0.2, 1.1, 0.4], dtype=DOUBLE)
    assert y(t).shape == (3, 2, 2)
    assert torch.equal(y(t)[1], y(t[1]))


def test_tuple_states_come_back_as_tuples() -> None:
    y0 = (torch.ones(2, dtype=DOUBLE), torch.tensor(3.0, dtype=DOUBLE))
    y = drop_in.odeint_dense(lambda t, y: (-y[0], y[1]), y0, 0.0, 1.0)
    first, second = y(0.5)
    assert error(first, torch.full((2,), torch.e**-0.5, dtype=DOUBLE)) < 1e-6
    assert second.item() == pytest.approx(3 * torch.e**0.5)


def test_gradients_flow_to_the_state_and_the_time() -> None:
    y0 = torch.tensor(2.0, dtype=DOUBLE, requires_grad=True)
    t = torch.tensor([0.3, 0.8], dtype=DOUBLE, requires_grad=True)
    y = drop_in.odeint_dense(lambda t, y: -0.5 * y, y0, 0.0, 1.0)(t)
    of_state, of_time = torch.autograd.grad(y.sum(), (y0, t))
    flow = torch.exp(-0.5 * t.detach())
    assert error(of_state, flow.sum()) < 1e-6
    assert error(of_time, -0.5 * 2 * flow) < 1e-6


def test_a_time_outside_of_the_solve_is_refused() -> None:
    y = drop_in.odeint_dense(lambda t, y: -y, torch.ones(1), 0.0, 1.0, rtol=1e-4)
    with pytest.raises(ValueError, match="between"):
        y(1.5)


def test_fixed_steps_are_refused() -> None:
    field = lambda t, y: -y
    with pytest.raises(ValueError, match="adaptive"):
        drop_in.odeint_dense(field, torch.ones(1), 0.0, 1.0, method="rk4")


def test_the_function_is_made_with_one_solve() -> None:
    calls: list[Tensor] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        calls.append(t)
        return -y

    y = drop_in.odeint_dense(field, torch.ones(1), 0.0, 1.0, rtol=1e-4, atol=1e-4)
    made = len(calls)
    assert drop_in.last_stats().nfe_forward == made
    y(0.3), y(0.6)
    assert len(calls) == made
