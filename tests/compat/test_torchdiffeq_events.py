"""Events: odeint with event_fn, and odeint_event with gradients to the event's time."""

import functools
import math
from types import ModuleType
from typing import Any

import pytest
import torch
from problems import DOUBLE, error
from torch import Tensor, nn

from odevision import SolveError
from odevision.compat import torchdiffeq as drop_in
from odevision.compat.torchdiffeq import roots

INTERFACES = ["odeint", "odeint_adjoint"]
ROTATION = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=DOUBLE)


class Decay(nn.Module):
    """y' = -rate y: y reaches y0 / 2 after log(2) / rate."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate, dtype=DOUBLE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -self.rate * y


def rotate(t: Tensor, y: Tensor) -> Tensor:
    return y @ ROTATION.T


def number(x: float, **more: Any) -> Tensor:
    return torch.tensor(x, dtype=DOUBLE, **more)


def span(end: float) -> Tensor:
    return torch.tensor([0.0, end], dtype=DOUBLE)


@pytest.mark.parametrize("end", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3"])
def test_an_event_is_found_however_far_the_second_time_is(
    library: ModuleType, method: str, end: float
) -> None:
    event_t, ys = library.odeint(
        Decay(), number(2.0), span(end), event_fn=lambda t, y: y - 1.0, method=method
    )
    assert event_t.shape == () and ys.shape == (2,)
    assert event_t.item() == pytest.approx(2 * math.log(2), abs=1e-4)
    assert ys.tolist() == pytest.approx([2.0, 1.0], abs=1e-5)


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_events_are_found_backward_in_time(library: ModuleType, method: str) -> None:
    options = {"step_size": 0.01, "interp": "cubic"} if method == "rk4" else {}
    event_t, ys = library.odeint(
        Decay(),
        number(1.0),
        span(-1.0),
        event_fn=lambda t, y: y - 2.0,
        method=method,
        options=options,
    )
    assert event_t.item() == pytest.approx(-2 * math.log(2), abs=1e-5)
    assert ys[-1].item() == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("method", ["midpoint", "rk4", "implicit_adams"])
def test_fixed_steps_look_for_events_step_by_step(library: ModuleType, method: str) -> None:
    options = {"step_size": 0.01, "interp": "cubic"}
    event_t, _ = library.odeint(
        rotate,
        torch.tensor([1.0, 0.0], dtype=DOUBLE),
        span(1.0),
        event_fn=lambda t, y: y[0],
        method=method,
        options=options,
        atol=1e-8,
    )
    assert event_t.item() == pytest.approx(math.pi / 2, abs=1e-4)


def test_the_first_of_several_events_ends_the_solve(library: ModuleType) -> None:
    # sin and cos of t cross 0.8 downward and upward; the second entry comes first.
    both = lambda t, y: torch.stack([y[0] - 0.2, 0.8 - y[1].abs()])
    event_t, _ = library.odeint(
        rotate, torch.tensor([1.0, 0.0], dtype=DOUBLE), span(1.0), event_fn=both
    )
    assert event_t.item() == pytest.approx(math.asin(0.8), abs=1e-5)


def test_an_event_at_the_start_ends_the_solve_there(library: ModuleType) -> None:
    event_t, ys = library.odeint(Decay(), number(2.0), span(1.0), event_fn=lambda t, y: y - 2.0)
    assert event_t.item() == 0.0 and ys.tolist() == [2.0, 2.0]


def test_events_of_tuple_states_get_tuples(library: ModuleType) -> None:
    y0 = (number(1.0), torch.zeros(1, dtype=DOUBLE))
    event_t, ys = library.odeint(
        lambda t, y: (y[1].squeeze(), -y[0].reshape(1)), y0, span(1.0), event_fn=lambda t, y: y[0]
    )
    assert isinstance(ys, tuple) and [y.shape for y in ys] == [(2,), (2, 1)]
    assert event_t.item() == pytest.approx(math.pi / 2, abs=1e-5)


def test_events_may_depend_on_time_alone(library: ModuleType) -> None:
    event_t, _ = library.odeint(
        Decay(), number(2.0), span(1.0), event_fn=lambda t, y: 3.25 - t.reshape(1)
    )
    assert event_t.item() == pytest.approx(3.25, abs=1e-6)


def ends_at_one_and_a_half(t: Tensor, y: Tensor) -> Tensor:
    """Programs end a simulation so: this has no root there, and no gradient."""
    return torch.zeros_like(t) if t > 1.5 else y + 1.0


def test_an_event_that_jumps_to_zero_ends_the_solve(library: ModuleType) -> None:
    event_t, _ = library.odeint_event(
        Decay(), number(2.0), number(0.0), event_fn=ends_at_one_and_a_half
    )
    assert 1.5 - 1e-6 < event_t.item() < 10


def test_an_event_that_jumps_to_zero_leaves_the_states_gradient() -> None:
    # torchdiffeq returns -1e-12 here.
    y0 = number(2.0, requires_grad=True)
    event_t, ys = drop_in.odeint_event(Decay(), y0, number(0.0), event_fn=ends_at_one_and_a_half)
    ys[-1].backward()
    assert y0.grad.item() == pytest.approx(math.exp(-0.5 * event_t.item()), rel=1e-5)


def test_single_precision_events_keep_theirs(library: ModuleType) -> None:
    event_t, ys = library.odeint(
        Decay().float(),
        torch.tensor(2.0),
        torch.tensor([0.0, 1.0]),
        event_fn=lambda t, y: y - 1.0,
        rtol=1e-5,
        atol=1e-6,
    )
    assert event_t.dtype == ys.dtype == torch.float32
    assert event_t.item() == pytest.approx(2 * math.log(2), abs=1e-3)


def test_events_need_two_times(library: ModuleType) -> None:
    with pytest.raises(ValueError, match="2|two"):
        library.odeint(Decay(), number(1.0), torch.linspace(0, 1, 3), event_fn=lambda t, y: y - 0.5)


def test_fixed_steps_need_a_step_size_for_events() -> None:
    with pytest.raises(ValueError, match="step_size"):
        drop_in.odeint(Decay(), number(1.0), span(1.0), event_fn=lambda t, y: y - 0.5, method="rk4")


def test_scipys_solvers_look_for_no_events() -> None:
    with pytest.raises(ValueError, match="scipy_solver"):
        drop_in.odeint(
            Decay(), number(1.0), span(1.0), event_fn=lambda t, y: y - 0.5, method="scipy_solver"
        )


def test_fixed_steps_give_up_on_an_event_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "MOST_FIXED_STEPS", 1200)
    with pytest.raises(SolveError, match=r"event_fn.*t = 120"):
        drop_in.odeint(
            lambda t, y: torch.zeros_like(y),
            number(1.0),
            span(1.0),
            event_fn=lambda t, y: y,
            method="euler",
            options={"step_size": 0.1},
        )


def test_adaptive_steps_give_up_on_an_event_that_never_comes() -> None:
    with pytest.raises(SolveError, match="event_fn|max_steps"):
        drop_in.odeint(
            Decay(),
            number(1.0),
            span(1.0),
            event_fn=lambda t, y: y + 1,
            options={"max_num_steps": 50},
        )


@pytest.mark.parametrize("interface", INTERFACES)
def test_the_state_at_an_event_has_the_gradient_of_a_fixed_time(
    library: ModuleType, interface: str
) -> None:
    y0, field = number(2.0, requires_grad=True), Decay()
    event_t, ys = getattr(library, interface)(field, y0, span(1.0), event_fn=lambda t, y: y - 1.0)
    ys[-1].backward()
    assert y0.grad.item() == pytest.approx(0.5, rel=1e-4)
    assert field.rate.grad.item() == pytest.approx(-2 * math.log(2), rel=1e-4)


def test_the_events_time_can_be_differentiated_through_the_adjoint(library: ModuleType) -> None:
    event_t, _ = library.odeint_adjoint(
        Decay(), number(2.0, requires_grad=True), span(1.0), event_fn=lambda t, y: y - 1.0
    )
    event_t.backward()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("interface", INTERFACES)
def test_odeint_event_has_gradients_of_the_events_time_and_state(
    library: ModuleType, interface: str, reverse: bool
) -> None:
    # y = y0 exp(-rate (t - t0)) meets level + t at the event.
    y0, t0 = number(2.0, requires_grad=True), number(0.3, requires_grad=True)
    field, level = Decay(), 3.0 if reverse else 0.8
    event_t, ys = library.odeint_event(
        field,
        y0,
        t0,
        event_fn=lambda t, y: y - level - t,
        reverse_time=reverse,
        odeint_interface=getattr(library, interface),
        rtol=1e-9,
        atol=1e-10,
    )
    t, y = event_t.item(), ys[-1].item()
    assert y == pytest.approx(level + t, abs=1e-6)
    assert (t < 0.3) == reverse
    moves = -1 / (-0.5 * y - 1)  # dt / dy at fixed time
    flow = math.exp(-0.5 * (t - 0.3))
    found = torch.autograd.grad(event_t, (y0, field.rate, t0), retain_graph=True)
    expected = [flow * moves, -(t - 0.3) * y * moves, 0.5 * y * moves]
    assert [x.item() for x in found] == pytest.approx(expected, rel=1e-4)
    # The state stays on level + t.
    found = torch.autograd.grad(ys[-1], (y0, field.rate, t0))
    assert [x.item() for x in found] == pytest.approx(expected, rel=1e-4)


def test_odeint_event_has_gradients_of_the_events_own_parameters() -> None:
    level, y0 = number(0.5, requires_grad=True), number(2.0)
    event_t, ys = drop_in.odeint_event(
        Decay(), y0, number(0.0), event_fn=lambda t, y: y - level, rtol=1e-9, atol=1e-10
    )
    (of_time,) = torch.autograd.grad(event_t, level, retain_graph=True)
    (of_state,) = torch.autograd.grad(ys[-1], level)
    assert of_time.item() == pytest.approx(-1 / (0.5 * 0.5), rel=1e-6)
    assert of_state.item() == pytest.approx(1.0, rel=1e-6)


def test_odeint_event_takes_tuples_and_one_entry_vectors(library: ModuleType) -> None:
    y0 = (torch.tensor([1.0], dtype=DOUBLE, requires_grad=True), torch.zeros(1, dtype=DOUBLE))
    event_t, ys = library.odeint_event(
        lambda t, y: (y[1], -y[0]),
        y0,
        torch.tensor([0.0], dtype=DOUBLE),
        event_fn=lambda t, y: y[0] - 0.5,
        rtol=1e-9,
        atol=1e-10,
    )
    assert event_t.item() == pytest.approx(math.pi / 3, abs=1e-6)
    assert isinstance(ys, tuple) and [y.shape for y in ys] == [(2, 1), (2, 1)]
    event_t.sum().backward()
    # a cos t = 1/2 moves by dt = cot t da
    assert y0[0].grad.item() == pytest.approx(1 / math.tan(math.pi / 3), rel=1e-5)


def test_odeint_event_takes_an_interface_with_settings(library: ModuleType) -> None:
    solve = functools.partial(library.odeint, method="bosh3", rtol=1e-5, atol=1e-6)
    event_t, _ = library.odeint_event(
        Decay(), number(2.0), number(0.0), event_fn=lambda t, y: y - 1.0, odeint_interface=solve
    )
    assert event_t.item() == pytest.approx(2 * math.log(2), abs=1e-3)


def test_a_second_derivative_of_an_event_is_refused() -> None:
    y0 = number(2.0, requires_grad=True)
    event_t, _ = drop_in.odeint_event(Decay(), y0, number(0.0), event_fn=lambda t, y: y - 1.0)
    (first,) = torch.autograd.grad(event_t, y0, create_graph=True)
    with pytest.raises(ValueError, match="again"):
        torch.autograd.grad(first, y0)


def test_statistics_count_the_evaluations_of_a_search() -> None:
    calls = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        calls.append(t)
        return -0.5 * y

    drop_in.odeint(field, number(2.0), span(1e-3), event_fn=lambda t, y: y - 1.0)
    stats = drop_in.last_stats()
    # One more finds the slope at the root.
    assert stats.nfe_forward <= len(calls) <= stats.nfe_forward + 1
    assert stats.num_steps == stats.num_accepted_steps + stats.num_rejected_steps > 0


def test_events_cost_about_what_they_cost_torchdiffeq(torchdiffeq: ModuleType) -> None:
    def count(library: ModuleType) -> int:
        calls = []

        def field(t: Tensor, y: Tensor) -> Tensor:
            calls.append(t)
            return rotate(t, y)

        y0 = torch.tensor([1.0, 0.0], dtype=DOUBLE)
        library.odeint(field, y0, span(1.0), event_fn=lambda t, y: y[1] + 3 - t / 3)
        return len(calls)

    assert count(drop_in) <= 1.1 * count(torchdiffeq)


def test_the_event_of_a_moving_start_is_exact_in_t0() -> None:
    t0 = number(0.3, requires_grad=True)

    def at(t0: Tensor) -> Tensor:
        event_t, _ = drop_in.odeint_event(
            lambda t, y: -y * torch.sin(t),
            number(2.0),
            t0,
            event_fn=lambda t, y: y - 1.2,
            rtol=1e-10,
            atol=1e-11,
        )
        return event_t

    (found,) = torch.autograd.grad(at(t0), t0)
    step = 1e-5
    with torch.no_grad():
        expected = (at(t0 + step) - at(t0 - step)) / (2 * step)
    assert error(found, expected) < 1e-5
