"""Inputs that are rare and right: they are understood; or wrong: they are refused by name."""

from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from odevision import Event, GridController, PerSample, PIDController, SolveError, odesolve
from odevision.ode.compiled import without_start
from odevision.solve.checks import refuse_changing_layers

ONE = torch.ones(3, 2)
each_batch = pytest.mark.parametrize("batch", ["joint", "independent"])


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for users, whose types nobody checks."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


class Scaled(nn.Module):
    def forward(self, t: Tensor, y: Tensor, args: tuple[Tensor, ...]) -> Tensor:
        return -args[0] * y


def test_times_of_a_controller_may_come_from_a_generator() -> None:
    assert PIDController(jump_points=(t / 2 for t in (1, 3))).jump_points == (0.5, 1.5)
    assert GridController(times=map(float, [0, 1])).times == (0.0, 1.0)  # pyright: ignore
    with pytest.raises(ValueError, match=r"`jump_points` must hold times, got 0.5"):
        PIDController(jump_points=0.5)  # pyright: ignore[reportArgumentType]


def test_saved_times_keep_the_precision_of_the_state() -> None:
    saves = [0.1, 0.7]
    solution = odesolve(decay, ONE.double(), 0.0, 1.0, save_at=saves, batch="independent")
    assert solution.ts.tolist() == saves


@each_batch
def test_a_time_rounded_to_float32_is_still_the_end(batch: Any) -> None:
    end = odesolve(decay, ONE, 0.0, torch.tensor(0.7), save_at=[0.2, 0.7], batch=batch)
    torch.testing.assert_close(end.ys[-1], end.y1)
    odesolve(decay, ONE, torch.tensor(0.1), 1.0, save_at=[0.1, 1.0], batch=batch)
    with pytest.raises(ValueError, match="`save_at`"):
        odesolve(decay, ONE, 0.0, torch.tensor(0.7), save_at=[0.2, 0.7001], batch=batch)


def test_an_interpolant_takes_the_end_of_its_own_solve() -> None:
    solution = odesolve(decay, ONE, 1000.0, 1000.2, dense=True)
    assert solution.interpolant is not None
    torch.testing.assert_close(solution.interpolant(solution.t1), solution.y1)


def test_direct_gradients_reach_a_graph_that_begins_inside_a_step() -> None:
    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def end(w: Tensor) -> Tensor:
        f = lambda t, y: -y if t == 0 else -w * y
        return odesolve(f, ONE.double(), 0.0, 1.0, solver="rk4", num_steps=2, gradient="direct").y1

    assert torch.autograd.gradcheck(end, (w,))


@each_batch
def test_a_state_that_became_nan_has_no_events(batch: Any) -> None:
    event = Event(lambda t, y: y[..., 0] - 0.5 if batch == "independent" else y.min() - 0.5)
    f = lambda t, y: torch.where(y < 0.9, torch.nan, -y)
    options: dict[str, Any] = {"event": event, "batch": batch}
    fixed = odesolve(f, ONE, 0.0, 1.0, solver="rk4", num_steps=8, **options)
    assert bool(fixed.y1.isnan().all())
    with pytest.raises(SolveError, match="NaN"):
        odesolve(decay, ONE * torch.nan, 0.0, 1.0, **options)
    assert odesolve(decay, ONE * torch.nan, 0.0, 1.0, throw=False, **options).error is not None


def test_an_event_of_a_sound_state_must_not_be_nan() -> None:
    event = Event(lambda t, y: y.min() / 0 * 0)
    with pytest.raises(ValueError, match="`event` must return a number, got NaN"):
        odesolve(decay, ONE, 0.0, 1.0, event=event)


def test_all_steps_up_to_a_terminal_event_include_its_state() -> None:
    event = Event(lambda t, y: y.min() - 0.5, terminal=True)
    solution = odesolve(decay, ONE, 0.0, 5.0, save_at="steps", event=event)
    assert float(solution.ts[-1]) == float(solution.t1) < 5
    torch.testing.assert_close(solution.ys[-1], solution.y1)
    assert bool((solution.ts.diff() > 0).all())


def test_an_empty_interval_hands_out_a_state_of_its_own() -> None:
    y0 = ONE.clone()
    odesolve(decay, y0, 1.0, 1.0).y1.zero_()
    torch.testing.assert_close(y0, ONE)


@each_batch
def test_wrapped_modules_receive_their_arguments_as_the_module_does(batch: Any) -> None:
    rates = (torch.tensor([1.0, 2.0]),)
    plain = odesolve(Scaled(), ONE, 0.0, 1.0, args=rates, batch=batch)
    wrapped = odesolve(nn.DataParallel(Scaled()), ONE, 0.0, 1.0, args=rates, batch=batch)
    torch.testing.assert_close(wrapped.y1, plain.y1)
    torch.testing.assert_close(plain.y1[0], torch.exp(-rates[0]), rtol=1e-2, atol=0)


def test_counts_may_be_numbers_of_numpy() -> None:
    options: dict[str, Any] = {"num_steps": np.int64(4), "max_steps": np.int64(4)}
    assert odesolve(decay, ONE, 0.0, 1.0, solver="rk4", **options).stats.num_steps == 4
    with pytest.raises(ValueError, match="`num_steps` must be a whole number"):
        odesolve(decay, ONE, 0.0, 1.0, solver="rk4", num_steps=True)


@pytest.mark.parametrize("bad", [[0.0, 1.0], np.zeros(2), "now", None])
@each_batch
def test_what_is_no_time_is_refused_by_name(batch: Any, bad: Any) -> None:
    with pytest.raises(ValueError, match="`t1` must be"):
        odesolve(decay, ONE, 0.0, bad, batch=batch)


@each_batch
def test_names_and_fields_of_another_kind_are_refused_by_name(batch: Any) -> None:
    with pytest.raises(ValueError, match="`solver` must be one of"):
        odesolve(decay, ONE, 0.0, 1.0, solver=["rk4"], batch=batch)  # pyright: ignore
    with pytest.raises(ValueError, match="`vector_field` must be callable"):
        odesolve(None, ONE, 0.0, 1.0, batch=batch)  # pyright: ignore[reportArgumentType]


def test_arrays_of_one_number_are_a_time() -> None:
    solution = odesolve(decay, ONE, np.array([0.0]), np.float32(1), save_at=np.array(0.5))
    assert solution.ts.tolist() == [0.5] and solution.ys.shape == (1, 3, 2)


def test_times_of_each_sample_lead_to_independent_solves() -> None:
    saves = torch.tensor([[0.1], [0.2], [0.3]])
    with pytest.raises(ValueError, match=r"shape \(times,\), got \(3, 1\).*batch='independent'"):
        odesolve(decay, ONE, 0.0, 1.0, save_at=saves)
    args = (PerSample(torch.ones(3, 1)),)
    f = lambda t, y, rate: -rate * y
    odesolve(f, ONE, 0.0, 1.0, args=args, save_at=saves, batch="independent")


@pytest.mark.parametrize(
    "layer",
    [
        nn.RReLU(),
        nn.MultiheadAttention(4, 2, dropout=0.5),
        nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)),
    ],
)
def test_layers_that_change_between_evaluations_are_refused(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match="f would change between the evaluations"):
        refuse_changing_layers(nn.Sequential(layer))
    refuse_changing_layers(nn.Sequential(layer).eval())


def test_a_method_of_a_module_is_looked_at_as_the_module() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def field(self, t: Tensor, y: Tensor) -> Tensor:
            return self.norm(y)

    with pytest.raises(ValueError, match="BatchNorm1d in training mode"):
        odesolve(Model().field, ONE, 0.0, 1.0)


def test_the_first_step_is_no_part_of_a_compiled_graph() -> None:
    first, second = (without_start(PIDController(dt0=dt0)) for dt0 in (0.1, 0.2))
    assert first == second == PIDController()
