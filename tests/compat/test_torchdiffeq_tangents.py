"""Forward-mode derivatives by time, which no_grad leaves alone, are those of torchdiffeq."""

import pytest
import torch
import torchdiffeq
from problems import DOUBLE
from torch import Tensor

from odevision.compat import torchdiffeq as drop_in

TANGENT = torch.tensor([0.0, 0.0, 1.0], dtype=DOUBLE)


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


def end_by_last_time(module: object, method: str) -> Tensor:
    y0, t = torch.ones(3, dtype=DOUBLE), torch.linspace(0, 1, 3, dtype=DOUBLE)
    solve = lambda t: module.odeint(decay, y0, t, method=method)[-1]  # type: ignore[attr-defined]
    return torch.func.jvp(solve, (t,), (TANGENT,))[1]


@pytest.mark.parametrize("method", ["euler", "rk4", "implicit_adams"])
def test_tangents_of_the_times_are_torchdiffeqs(method: str) -> None:
    expected = end_by_last_time(torchdiffeq, method)
    assert expected.abs().min() > 0.1
    torch.testing.assert_close(end_by_last_time(drop_in, method), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_tangents_pass_under_no_grad(method: str) -> None:
    with torch.no_grad():
        tangent = end_by_last_time(drop_in, method)
    torch.testing.assert_close(tangent, -torch.exp(-torch.ones(3, dtype=DOUBLE)), rtol=1e-2, atol=0)


def test_a_moving_start_moves_the_event() -> None:
    def event_time(start: Tensor) -> Tensor:
        y0 = torch.ones(1, dtype=DOUBLE)
        g = lambda t, y: y.sum() - 0.5
        return drop_in.odeint_event(decay, y0, start, event_fn=g)[0]

    zero, one = torch.tensor(0.0, dtype=DOUBLE), torch.tensor(1.0, dtype=DOUBLE)
    time, tangent = torch.func.jvp(event_time, (zero,), (one,))
    torch.testing.assert_close(time, torch.tensor(2.0, dtype=DOUBLE).log(), rtol=1e-7, atol=0)
    torch.testing.assert_close(tangent, one, rtol=1e-6, atol=0)


@pytest.mark.parametrize("start", [0.0, 1e6])
def test_of_float32_states_an_event_is_found_as_exactly_far_from_zero(start: float) -> None:
    t0, g = torch.tensor(start, dtype=DOUBLE), lambda t, y: y.sum() - 0.5
    time, states = drop_in.odeint_event(decay, torch.ones(1), t0, event_fn=g, rtol=1e-6, atol=1e-6)
    assert float(time - t0) == pytest.approx(0.693147, abs=3e-6)
    assert float(states[-1]) == pytest.approx(0.5, abs=1e-6)


def test_one_time_gives_a_copy_of_the_state() -> None:
    y0 = torch.ones(2, dtype=DOUBLE)
    drop_in.odeint(decay, y0, torch.zeros(1, dtype=DOUBLE)).mul_(5)
    assert torch.equal(y0, torch.ones(2, dtype=DOUBLE))
