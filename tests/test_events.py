"""Events in a solve of one common clock: where the roots lie, what they do, their gradients."""

import math

import pytest
import torch
from problems import DOUBLE
from torch import Tensor, nn

from odevision import Event, GridController, PIDController, odesolve
from odevision.ode.solution import Result
from odevision.solve.checks import DEFAULT_ATOL, DEFAULT_RTOL

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
SWING0 = torch.tensor([0.0, 1.0], dtype=DOUBLE)  # sin and cos


def swing(t: Tensor, y: Tensor) -> Tensor:
    return torch.stack([y[1], -y[0]])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=DOUBLE, generator=generator).requires_grad_()


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=DOUBLE, requires_grad=True)


@pytest.mark.parametrize("solver", ["dopri5", "tsit5", "dopri8", "bosh3"])
def test_a_root_is_found_to_the_accuracy_of_the_solve(solver: str) -> None:
    level = Event(lambda t, y: y[0] - 0.8)
    tol = {"rtol": 1e-8, "atol": 1e-10}
    solution = odesolve(swing, SWING0, 0, 10, solver=solver, event=level, **tol)
    assert solution.result is Result.EVENT
    assert float(solution.t1) == pytest.approx(math.asin(0.8), abs=2e-7)
    assert float(solution.y1[0]) == pytest.approx(0.8, abs=1e-12)
    assert float(solution.y1[1]) == pytest.approx(0.6, abs=2e-7)
    assert torch.equal(solution.event_ts[0], solution.t1[None])
    assert torch.equal(solution.event_ys[0], solution.y1[None])
    assert torch.equal(solution.ys, solution.y1[None]) and solution.ts == solution.t1


@pytest.mark.parametrize("solver", ["rk4", "leapfrog", "adams-bashforth3"])
def test_fixed_steps_look_for_roots_too(solver: str) -> None:
    level = Event(lambda t, y: y[0] - 0.8)
    solution = odesolve(swing, SWING0, 0, 2, solver=solver, num_steps=200, event=level)
    assert float(solution.t1) == pytest.approx(math.asin(0.8), abs=1e-4)
    on_grid = GridController(times=[0.01 * i for i in range(201)])
    again = odesolve(swing, SWING0, 0, 2, solver=solver, controller=on_grid, event=level)
    assert float(again.t1) == pytest.approx(float(solution.t1), abs=1e-12)


@pytest.mark.parametrize(
    "direction, roots",
    [(0, [math.pi, 2 * math.pi, 3 * math.pi]), (1, [2 * math.pi]), (-1, [math.pi, 3 * math.pi])],
)
def test_the_direction_is_that_of_the_solve(direction: int, roots: list[float]) -> None:
    zero = Event(lambda t, y: y[0], terminal=False, direction=direction)
    solution = odesolve(swing, SWING0, 0, 10, event=zero, **TIGHT)
    assert solution.event_ts[0].tolist() == pytest.approx(roots, abs=1e-8)
    assert solution.event_ys[0].shape == (len(roots), 2)
    assert solution.result is Result.SUCCESSFUL and float(solution.t1) == 10


@pytest.mark.parametrize("direction, root", [(1, -math.pi), (-1, -2 * math.pi)])
def test_the_direction_backward_in_time_is_that_of_the_solve_too(direction, root) -> None:
    # Going back from 0 the sine first falls below zero, and rises through it at -pi.
    zero = Event(lambda t, y: y[0], direction=direction)
    solution = odesolve(swing, SWING0, 0, -10, event=zero, **TIGHT)
    assert float(solution.t1) == pytest.approx(root, abs=1e-8)


def test_non_terminal_events_change_nothing_else() -> None:
    plain = odesolve(swing, SWING0, 0, 10, save_at=[1.0, 5.0], solver="dopri5")
    zero = Event(lambda t, y: y[0], terminal=False)
    watched = odesolve(swing, SWING0, 0, 10, save_at=[1.0, 5.0], solver="dopri5", event=zero)
    assert torch.equal(plain.ys, watched.ys) and torch.equal(plain.y1, watched.y1)
    assert plain.stats == watched.stats


def test_several_events_are_kept_apart_and_the_first_terminal_one_ends_the_solve() -> None:
    events = [
        Event(lambda t, y: y[0], terminal=False),
        Event(lambda t, y: y[1], terminal=False),
        Event(lambda t, y: t - 4.0),
        Event(lambda t, y: t - 5.0),
    ]
    solution = odesolve(swing, SWING0, 0, 10, event=events, **TIGHT)
    times = [ts.tolist() for ts in solution.event_ts]
    assert times[0] == pytest.approx([math.pi], abs=1e-8)
    assert times[1] == pytest.approx([0.5 * math.pi], abs=1e-8)
    assert times[2] == pytest.approx([4.0], abs=1e-12) and times[3] == []
    assert [tuple(ys.shape) for ys in solution.event_ys] == [(1, 2), (1, 2), (1, 2), (0, 2)]
    assert solution.result is Result.EVENT and float(solution.t1) == pytest.approx(4.0)


def test_roots_within_one_step_come_in_order_and_stop_at_the_terminal_one() -> None:
    linear = lambda t, y: torch.ones_like(y)
    at = lambda level, **options: Event(lambda t, y: y[0] - level, **options)
    events = [at(0.7, terminal=False), at(0.5), at(0.3, terminal=False), at(0.4)]
    solution = odesolve(linear, torch.zeros(1, dtype=DOUBLE), 0, 1, num_steps=1, event=events)
    assert [len(ts) for ts in solution.event_ts] == [0, 0, 1, 1]
    assert float(solution.t1) == pytest.approx(0.4)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_a_terminal_event_cuts_the_saved_times_off(gradient) -> None:
    level = Event(lambda t, y: y[0] - 0.8)
    times = [0.0, 0.5, 0.9, 1.0, 2.0]
    solution = odesolve(
        swing, SWING0, 0, 10, event=level, save_at=times, gradient=gradient, **TIGHT
    )
    assert solution.ts.tolist() == [0.0, 0.5, 0.9]
    assert solution.ys.shape == (3, 2)
    none = odesolve(swing, SWING0, 0, 10, event=level, save_at=[5.0], gradient=gradient, **TIGHT)
    assert none.ts.shape == (0,) and none.ys.shape == (0, 2)


def test_steps_are_saved_up_to_a_terminal_event() -> None:
    level = Event(lambda t, y: y[0] - 0.8)
    solution = odesolve(swing, SWING0, 0, 10, event=level, save_at="steps", **TIGHT)
    assert float(solution.ts.max()) <= float(solution.t1)


@pytest.mark.parametrize("direction", [0, 1, -1])
def test_a_start_on_the_root_is_no_crossing(direction: int) -> None:
    zero = Event(lambda t, y: y[0], direction=direction)
    solution = odesolve(swing, SWING0, 0, 10, event=zero, **TIGHT)
    expected = {0: math.pi, 1: 2 * math.pi, -1: math.pi}[direction]
    assert float(solution.t1) == pytest.approx(expected, abs=1e-8)


def test_a_step_that_ends_on_the_root_crosses_it_once() -> None:
    linear = lambda t, y: torch.ones_like(y)
    level = Event(lambda t, y: y[0] - 0.5, terminal=False)
    solution = odesolve(linear, torch.zeros(1, dtype=DOUBLE), 0, 1, num_steps=4, event=level)
    assert solution.event_ts[0].tolist() == pytest.approx([0.5], abs=1e-15)


def test_a_root_at_the_very_end_counts() -> None:
    linear = lambda t, y: torch.ones_like(y)
    level = Event(lambda t, y: t - 1.0)
    solution = odesolve(linear, torch.zeros(1, dtype=DOUBLE), 0, 1, num_steps=4, event=level)
    assert solution.result is Result.EVENT and float(solution.t1) == pytest.approx(1.0, abs=1e-14)


def test_an_event_that_never_comes_leaves_the_solve_as_it_is() -> None:
    solution = odesolve(swing, SWING0, 0, 3, event=Event(lambda t, y: y[0] + 5), **TIGHT)
    assert solution.result is Result.SUCCESSFUL and float(solution.t1) == 3
    assert solution.event_ts[0].shape == (0,) and solution.event_ys[0].shape == (0, 2)


@pytest.mark.parametrize("tolerance, bound", [(1e-2, 1e-2), (1e-5, 1e-5), (0.0, 1e-14)])
def test_the_tolerance_bounds_the_roots_time(tolerance: float, bound: float) -> None:
    calls = 0

    def cubic(t, y):
        nonlocal calls
        calls += 1
        return (t - 1.2345) ** 3 + 0.01 * (t - 1.2345) + 0 * y.sum()

    linear = lambda t, y: torch.ones_like(y)
    solution = odesolve(
        linear,
        torch.zeros(1, dtype=DOUBLE),
        0,
        4,
        num_steps=2,
        event=Event(cubic, tolerance=tolerance),
    )
    assert abs(float(solution.t1) - 1.2345) <= bound
    assert calls < 120


def test_a_float32_state_finds_its_root_to_its_own_precision() -> None:
    level = Event(lambda t, y: y[0] - 0.8)
    solution = odesolve(swing, SWING0.float(), 0, 10, event=level, rtol=1e-6, atol=1e-7)
    assert float(solution.t1) == pytest.approx(math.asin(0.8), abs=5e-6)


def test_one_hidden_pair_of_roots_is_found_with_shorter_steps() -> None:
    narrow = Event(lambda t, y: (t - 0.5) ** 2 - 1e-4, terminal=False)
    still = lambda t, y: torch.zeros_like(y)
    y0 = torch.ones(1, dtype=DOUBLE)
    assert odesolve(still, y0, 0, 1, num_steps=1, event=narrow).event_ts[0].numel() == 0
    found = odesolve(still, y0, 0, 1, controller=PIDController(dt_max=0.01), event=narrow)
    assert found.event_ts[0].tolist() == pytest.approx([0.49, 0.51], abs=1e-10)


@each_gradient
def test_a_batch_shares_its_event(gradient) -> None:
    y0 = torch.tensor([[3.0], [2.0], [4.0]], dtype=DOUBLE, requires_grad=True)
    first = Event(lambda t, y: y.min() - 1.0)
    solution = odesolve(lambda t, y: -y, y0, 0, 5, event=first, gradient=gradient, **TIGHT)
    torch.testing.assert_close(solution.t1, torch.log(y0[1, 0]).detach(), rtol=1e-8, atol=0)
    (slope,) = torch.autograd.grad(solution.t1, y0)
    expected = torch.tensor([[0.0], [0.5], [0.0]], dtype=DOUBLE)
    torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("value", [lambda t, y: y, lambda t, y: 1.0, lambda t, y: None])
def test_an_event_must_be_one_number(value) -> None:
    with pytest.raises(ValueError, match="`event` must return one number for all samples"):
        odesolve(lambda t, y: -y, torch.ones(3, 2), 0, 1, event=Event(value))


@pytest.mark.parametrize(
    "options, words",
    [({"direction": 2}, "`direction` must be"), ({"tolerance": -1.0}, "`tolerance` must be")],
)
def test_settings_out_of_range_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Event(lambda t, y: y.sum(), **options)


def test_the_events_own_exception_passes() -> None:
    class OwnError(Exception):
        pass

    def broken(t, y):
        raise OwnError

    with pytest.raises(OwnError):
        odesolve(swing, SWING0, 0, 1, event=Event(broken))


# --- gradients ---


class Level(nn.Module):
    """A slanted line in phase space, moving in time: g has parameters, and depends on t itself."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0, 0.3], dtype=DOUBLE))
        self.offset = nn.Parameter(torch.tensor(0.9, dtype=DOUBLE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return (self.slope * y).sum() - self.offset + 0.1 * t


# The tolerances play no part in fixed steps.
FIXED = {"num_steps": 30, "rtol": DEFAULT_RTOL, "atol": DEFAULT_ATOL}


def damped(t: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return torch.stack([y[1], -w[0] * y[0] - w[1] * y[1] * y[1].abs()])


def hit(gradient: str, inputs: list[Tensor], **options):
    """Time and state of the first time that a motion meets the line."""
    y0, w, t0, slope, offset = inputs
    level = Level()
    del level.slope, level.offset
    level.slope, level.offset = slope, offset
    return odesolve(
        damped,
        y0,
        t0,
        10.0,
        args=(w,),
        event=Event(level),
        gradient=gradient,
        **{**TIGHT, **options},
    )


def hit_inputs() -> list[Tensor]:
    return [
        torch.tensor([0.1, 1.2], dtype=DOUBLE, requires_grad=True),
        torch.tensor([1.3, 0.2], dtype=DOUBLE, requires_grad=True),
        scalar(0.05),
        torch.tensor([1.0, 0.3], dtype=DOUBLE, requires_grad=True),
        scalar(0.9),
    ]


@each_gradient
def test_gradients_of_the_roots_time_and_state_equal_finite_differences(gradient) -> None:
    inputs = hit_inputs()
    read = lambda solution: torch.cat([solution.t1[None], solution.y1])
    lam = torch.tensor([1.0, -0.7, 0.4], dtype=DOUBLE)
    ours = torch.autograd.grad(read(hit(gradient, inputs)), inputs, lam)
    h = 1e-5
    for x, slope in zip(inputs, ours, strict=True):
        expected = torch.zeros_like(x)
        for i in range(x.numel()):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    moved = [part.clone() for part in inputs]
                    place = next(j for j, part in enumerate(inputs) if part is x)
                    moved[place].view(-1)[i] += sign * h
                    ends.append(read(hit("direct", moved)))
            expected.view(-1)[i] = (lam * (ends[0] - ends[1])).sum() / (2 * h)
        torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "solver, options",
    [
        ("dopri5", {}),
        ("tsit5", {}),
        ("dopri5", {"rtol": 1e-3, "atol": 1e-4}),
        ("tsit5", {"rtol": 1e-3, "atol": 1e-4}),
        *((solver, FIXED) for solver in ("bosh3", "rk4", "dopri8", "leapfrog", "adams-moulton5")),
    ],
)
def test_checkpointed_equals_direct_through_an_event(solver: str, options: dict) -> None:
    results = []
    for gradient in ("direct", "checkpointed"):
        inputs = hit_inputs()
        solution = hit(gradient, inputs, solver=solver, save_at=[0.1, 0.3], dense=True, **options)
        loss = solution.t1 + solution.y1.square().sum() + solution.ys.pow(3).sum()
        loss = loss + solution.event_ts[0].sum() + solution.interpolant(0.2).sum()
        results.append(torch.autograd.grad(loss, inputs))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)


@each_gradient
def test_the_parameters_of_a_module_receive_gradients(gradient) -> None:
    level = Level()
    solution = odesolve(swing, SWING0, 0, 10, event=Event(level), gradient=gradient, **TIGHT)
    solution.t1.backward()
    with torch.no_grad():
        t, y = solution.t1, solution.y1
        rate = level.slope[0] * y[1] - level.slope[1] * y[0] + 0.1
    torch.testing.assert_close(level.offset.grad, 1 / rate, rtol=1e-8, atol=0)
    torch.testing.assert_close(level.slope.grad, -y / rate, rtol=1e-8, atol=0)
    assert t.ndim == 0


@each_gradient
def test_a_level_that_is_closed_over_receives_a_gradient(gradient) -> None:
    y0, level = scalar(2.0), scalar(0.5)
    event = Event(lambda t, y: y - level)
    t1 = odesolve(lambda t, y: -y, y0, 0, 5, event=event, gradient=gradient, **TIGHT).t1
    slopes = torch.autograd.grad(t1, (y0, level))
    assert [float(s) for s in slopes] == pytest.approx([0.5, -2.0], rel=1e-8)


@each_gradient
def test_every_root_of_a_non_terminal_event_has_gradients(gradient) -> None:
    amplitude, level = scalar(1.0), scalar(0.5)
    y0 = torch.stack([torch.zeros((), dtype=DOUBLE), amplitude])
    event = Event(lambda t, y: y[0] - level, terminal=False)
    ts = odesolve(swing, y0, 0, 8, event=event, gradient=gradient, **TIGHT).event_ts[0]
    assert ts.shape == (3,)
    for t in ts:
        slopes = torch.autograd.grad(t, (amplitude, level), retain_graph=True)
        rate = math.cos(t.item())
        assert float(slopes[1]) == pytest.approx(1 / rate, rel=1e-7)
        assert float(slopes[0]) == pytest.approx(-math.sin(t.item()) / rate, rel=1e-7)


@each_gradient
def test_a_root_of_time_alone_stays_where_it_is(gradient) -> None:
    y0, at = scalar(2.0), scalar(1.5)
    event = Event(lambda t, y: t - at)
    solution = odesolve(lambda t, y: -y, y0, 0, 5, event=event, gradient=gradient, **TIGHT)
    slopes = torch.autograd.grad(solution.t1, (y0, at), retain_graph=True, allow_unused=True)
    assert slopes[0] is None or float(slopes[0]) == 0
    assert float(slopes[1]) == pytest.approx(1.0)
    (moved,) = torch.autograd.grad(solution.y1, at)
    assert float(moved) == pytest.approx(-2 * math.exp(-1.5), rel=1e-8)


@each_gradient
@pytest.mark.parametrize("flat", [torch.sign, lambda x: x**3], ids=["sign", "cube"])
def test_a_root_where_g_is_flat_keeps_its_time_and_gets_no_gradient(gradient, flat) -> None:
    y0 = scalar(2.0)
    event = Event(lambda t, y: flat(y - 0.5))
    t1 = odesolve(lambda t, y: -y, y0, 0, 5, event=event, gradient=gradient, **TIGHT).t1
    assert t1.item() == pytest.approx(math.log(4), abs=1e-4)
    (slope,) = torch.autograd.grad(t1, y0)
    assert math.isfinite(slope.item())


def test_an_event_that_gives_nan_is_refused() -> None:
    event = Event(lambda t, y: torch.sqrt(y[0] - 0.9))
    with pytest.raises(ValueError, match="`event` must return a number, got NaN at t = "):
        odesolve(swing, SWING0, 0, 3, event=event)


@each_gradient
def test_the_end_of_the_interval_does_not_move_a_terminal_root(gradient) -> None:
    y0, t0, t1 = scalar(2.0), scalar(0.0), scalar(5.0)
    event = Event(lambda t, y: y - 0.5)
    solution = odesolve(lambda t, y: -y, y0, t0, t1, event=event, gradient=gradient, **TIGHT)
    by_start, by_end = torch.autograd.grad(solution.t1, (t0, t1), retain_graph=True)
    assert float(by_start) == pytest.approx(1.0, rel=1e-6)
    assert float(by_end) == pytest.approx(0.0, abs=1e-6)
    by_start, by_end = torch.autograd.grad(solution.y1, (t0, t1))
    assert float(by_start) == pytest.approx(0.0, abs=1e-6)


@each_gradient
def test_a_bouncing_ball_is_differentiable_through_its_bounces(gradient) -> None:
    """The event's time and state start the next solve."""
    speed = scalar(3.0)
    fall = lambda t, y: torch.stack([y[1], torch.full_like(y[1], -9.81)])
    floor = Event(lambda t, y: y[0], direction=-1)
    t, y = torch.zeros((), dtype=DOUBLE), torch.stack([torch.zeros_like(speed), speed])
    for _ in range(3):
        solution = odesolve(fall, y, t, t.detach() + 10, event=floor, gradient=gradient, **TIGHT)
        t, y = solution.t1, solution.y1 * torch.tensor([0.0, -0.8], dtype=DOUBLE)
    flights = 2 / 9.81 * (1 + 0.8 + 0.64)
    assert t.item() == pytest.approx(3 * flights, rel=1e-8)
    (slope,) = torch.autograd.grad(t, speed)
    assert float(slope) == pytest.approx(flights, rel=1e-8)


@each_gradient
def test_second_derivatives_through_an_event_are_refused(gradient) -> None:
    y0 = scalar(2.0)
    event = Event(lambda t, y: y - 0.5)
    t1 = odesolve(lambda t, y: -y, y0, 0, 5, event=event, gradient=gradient, **TIGHT).t1
    words = "`event` must not be part" if gradient == "direct" else "`gradient` must be 'direct'"
    with pytest.raises(ValueError, match=words):
        (first,) = torch.autograd.grad(t1, y0, create_graph=True)
        torch.autograd.grad(first, y0)


def test_second_derivatives_beside_an_event_stay_possible() -> None:
    y0 = scalar(2.0)
    event = Event(lambda t, y: y - 0.5, terminal=False)
    solution = odesolve(lambda t, y: -y * y, y0, 0, 5, event=event, gradient="direct", **TIGHT)
    (first,) = torch.autograd.grad(solution.y1, y0, create_graph=True)
    (second,) = torch.autograd.grad(first, y0)
    assert float(second) == pytest.approx(-2 * 5 / (1 + 5 * 2.0) ** 3, rel=1e-7)


def test_nothing_is_recorded_where_nothing_requires_a_gradient() -> None:
    solution = odesolve(swing, SWING0, 0, 10, event=Event(lambda t, y: y[0] - 0.8))
    assert not solution.t1.requires_grad and not solution.y1.requires_grad
    with torch.no_grad():
        level = Level()
        assert not odesolve(swing, SWING0, 0, 10, event=Event(level)).t1.requires_grad


@each_gradient
def test_a_complex_state_has_events(gradient) -> None:
    y0 = torch.tensor([2.0 + 0j], dtype=torch.complex128, requires_grad=True)
    event = Event(lambda t, y: y[0].real)
    turn = lambda t, y: (-0.1 + 1j) * y
    solution = odesolve(turn, y0, 0, 5, event=event, gradient=gradient, **TIGHT)
    assert solution.t1.item() == pytest.approx(math.pi / 2, rel=1e-9)
    (slope,) = torch.autograd.grad(solution.t1, y0)
    # The angle of y0 is its imaginary part over 2; a head start by it ends the turn earlier.
    assert complex(slope[0]) == pytest.approx(-0.5j, abs=1e-8)
