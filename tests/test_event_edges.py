"""Events whose number is zero for a while, NaN or no number, and roots far from time zero."""

import pytest
import torch
from torch import Tensor

from odevision import Event, odesolve
from odevision.ode.clock import clock_dtype

DOUBLE = torch.float64
BATCHES = ("joint", "independent")


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


def roots(batch: str, number: object, direction: int = 0) -> list[float]:
    """Times, in ten RK4 steps over [0, 5], at which a number of the time alone crosses zero."""

    def g(t: Tensor, y: Tensor) -> Tensor:
        value = number(t)  # type: ignore[operator]
        return value if batch == "joint" else value.reshape(-1)

    solution = odesolve(
        decay,
        torch.ones(1, 2, dtype=DOUBLE),
        0.0,
        5.0,
        solver="rk4",
        num_steps=10,
        batch=batch,  # type: ignore[arg-type]
        event=Event(g, terminal=False, direction=direction),
    )
    return solution.event_ts[0].flatten().tolist()


@pytest.mark.parametrize("batch", BATCHES)
def test_a_number_that_stays_zero_has_crossed_once(batch: str) -> None:
    number = lambda t: torch.relu(1.2 - t)
    assert roots(batch, number) == pytest.approx([1.2], abs=1e-12)
    assert roots(batch, number, direction=-1) == pytest.approx([1.2], abs=1e-12)
    assert roots(batch, number, direction=1) == []


@pytest.mark.parametrize("batch", BATCHES)
def test_a_number_that_turns_back_at_the_end_of_a_step_counts_once(batch: str) -> None:
    assert roots(batch, lambda t: (t - 1) ** 2) == pytest.approx([1.0], abs=1e-7)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_crossing_at_the_end_of_a_step_counts_once(batch: str) -> None:
    for direction, found in ((0, [1.0]), (1, [1.0]), (-1, [])):
        assert roots(batch, lambda t: t - 1, direction) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_number_that_leaves_zero_and_comes_back_counts_again(batch: str) -> None:
    # Zero from 1 to 2, positive until 3.3, negative then.
    number = lambda t: torch.relu(1 - t) + torch.relu(t - 2) - 2 * torch.relu(t - 2.65)
    assert roots(batch, number) == pytest.approx([1.0, 3.3], abs=1e-7)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("wrong", [lambda v: v > 0.5, lambda v: v + 0j])
def test_what_has_no_sign_is_refused(batch: str, wrong: object) -> None:
    g = lambda t, y: wrong(y[:, 0] if batch == "independent" else y[0, 0])  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"`event` must return real numbers.*Try y\[0\] - 0.5"):
        odesolve(decay, torch.ones(3, 2), 0.0, 1.0, batch=batch, event=Event(g))  # type: ignore[arg-type]


def test_of_samples_a_nan_is_told_and_no_root() -> None:
    def g(t: Tensor, y: Tensor) -> Tensor:
        late = (t[:, 0] > 0.5) & (y[:, 0] > 1)  # the second sample alone
        return torch.where(late, torch.nan, y[:, 0])

    y0 = torch.tensor([[1.0], [2.0]], dtype=DOUBLE)
    with pytest.raises(ValueError, match="`event` must return a number, got NaN for sample 1 at t"):
        odesolve(
            decay, y0, 0.0, 1.0, solver="rk4", num_steps=8, batch="independent", event=Event(g)
        )


def test_the_nan_of_a_state_that_became_nan_is_not_the_events() -> None:
    f = lambda t, y: torch.where(t > 0.5, torch.nan, -y)
    solution = odesolve(
        f, torch.ones(1, 1), 0.0, 1.0, solver="rk4", num_steps=4, batch="independent",
        event=Event(lambda t, y: y[:, 0] - 0.1),
    )  # fmt: skip
    assert solution.y1.isnan().all() and not solution.event_ts[0].numel()


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("start", [0.0, 1e3, 1e6])
def test_far_from_zero_a_root_is_as_exact(batch: str, start: float) -> None:
    t0 = torch.tensor(start, dtype=DOUBLE)
    g = lambda t, y: (y[:, 0] if batch == "independent" else y[0, 0]) - 0.5
    solution = odesolve(
        decay,
        torch.ones(1, 1),
        t0,
        t0 + 5,
        rtol=1e-6,
        atol=1e-6,
        batch=batch,
        event=Event(g),  # type: ignore[arg-type]
    )
    assert solution.t1 is not None and solution.t1.dtype == DOUBLE
    assert float(solution.t1 - t0) == pytest.approx(0.693147, abs=3e-6)
    assert float(solution.y1) == pytest.approx(0.5, abs=1e-6)
    assert solution.event_ts[0].dtype == solution.ts.dtype == DOUBLE


def test_numbers_as_ends_give_times_of_the_states_precision() -> None:
    solution = odesolve(decay, torch.ones(1), 0.0, 1.0, event=Event(lambda t, y: y[0] - 0.5))
    assert solution.t1 is not None
    assert solution.t1.dtype == solution.event_ts[0].dtype == torch.float32


def test_times_are_as_precise_as_a_device_allows() -> None:
    assert clock_dtype(torch.device("cpu")) == DOUBLE
    assert clock_dtype(torch.device("mps")) == torch.float32
