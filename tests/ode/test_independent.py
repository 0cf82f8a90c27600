"""batch="independent": each sample takes the way that it would take alone."""

import math

import numpy as np
import pytest
import torch
from problems import DOUBLE, PROBLEMS, error
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.overrides import TorchFunctionMode

from odevision import Event, GridController, PIDController, Solution, SolveError, Stats, odesolve
from odevision.ode.implicit import IMPLICIT_METHODS
from odevision.ode.per_sample import PerSample
from odevision.ode.solution import Result

BATCH = 6
LOOSE = {"rtol": 1e-2, "atol": 1e-3}
TOLERANCES = {"heun": LOOSE}  # or it takes thousands of steps
TIGHT = {"rtol": 1e-4, "atol": 1e-5}
ADAPTIVE = ["heun", "bosh3", "fehlberg2", "dopri5", "tsit5", "dopri8"]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


RATES = torch.logspace(-1, 1, BATCH, dtype=DOUBLE)[:, None]
STARTS = torch.linspace(-1, 1, BATCH, dtype=DOUBLE)
ENDS = torch.linspace(3, -2, BATCH, dtype=DOUBLE)  # the last samples go backward


def wave(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    return torch.cos(rate * t) * torch.sin(2 * y) - 0.1 * rate * y


def waves(**options) -> Solution:
    return odesolve(
        wave, drawn(BATCH, 3), STARTS, ENDS, args=PerSample((RATES,)), batch="independent",
        **options,
    )  # fmt: skip


def wave_alone(i: int, **options) -> Solution:
    y0, t0, t1 = drawn(BATCH, 3)[i : i + 1], float(STARTS[i]), float(ENDS[i])
    return odesolve(wave, y0, t0, t1, args=(RATES[i : i + 1],), **options)


def sample_stats(stats: Stats, i: int) -> tuple[int, ...]:
    counts = (
        stats.nfe_forward,
        stats.num_steps,
        stats.num_accepted_steps,
        stats.num_rejected_steps,
    )
    return tuple(int(x[i]) if isinstance(x, Tensor) else x for x in counts)


# Kernels round a batch and a sample differently, from machine to machine. Step lengths follow error
# estimates, in which that may be the ninth digit; so results agree to a ten-thousandth of `TIGHT`.
ROUNDING = {"rtol": 1e-8, "atol": 1e-9}


def assert_as_alone(together: Solution, alone: list[Solution]) -> None:
    for i, solution in enumerate(alone):
        assert sample_stats(together.stats, i) == sample_stats(solution.stats, i)
        torch.testing.assert_close(together.y1[i], solution.y1[0], **ROUNDING)
        assert float(together.stats.dt_first[i]) == pytest.approx(solution.stats.dt_first, rel=1e-9)


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_every_sample_takes_the_steps_that_it_takes_alone(solver: str) -> None:
    options = {"solver": solver, **TOLERANCES.get(solver, TIGHT)}
    together = waves(**options)
    assert int(together.stats.num_rejected_steps.max()) > 0
    assert len(set(together.stats.num_steps.tolist())) > 3
    assert_as_alone(together, [wave_alone(i, **options) for i in range(BATCH)])


@pytest.mark.parametrize(
    "settings",
    [
        {"proportional": 0.4, "integral": 0.3},
        {"proportional": 0.3, "integral": 0.3, "derivative": 0.1},
        {"dt0": 0.4},
        {"dt_max": 0.05},
        {"dt_min": 0.2},
        {"safety": 0.5, "min_factor": 0.7, "max_factor": 1.5},
        {"step_points": [0.0, 0.3]},
        {"jump_points": [0.1, 1.0]},
        {"jump_points": [-0.999]},
        {"noise": 1e-4},
    ],
    ids=str,
)
@pytest.mark.parametrize("solver", ["bosh3", "heun"])
def test_the_controllers_settings_hold_for_every_sample(settings: dict, solver: str) -> None:
    options = {"solver": solver, "controller": PIDController(rtol=1e-3, atol=1e-4, **settings)}
    alone = [wave_alone(i, **options) for i in range(BATCH)]
    assert_as_alone(waves(**options), alone)


def test_a_step_that_is_cut_short_at_the_end_does_not_lower_the_last_proposal() -> None:
    controller = PIDController(dt0=0.3, dt_max=0.3, max_factor=1.5)
    solution = odesolve(
        lambda t, y: torch.ones_like(y), drawn(2, 1), 0.0, torch.tensor([1.0, -0.7]),
        batch="independent", controller=controller,
    )  # fmt: skip
    torch.testing.assert_close(solution.stats.dt_last, torch.tensor([0.3, 0.3], dtype=DOUBLE))
    assert solution.stats.num_steps.tolist() == [4, 3]


def test_samples_keep_their_history_while_others_leave() -> None:
    """A PID controller's step depends on two errors before; a mix-up changes the steps."""
    controller = PIDController(rtol=1e-7, atol=1e-9, proportional=0.3, integral=0.3, derivative=0.1)
    together = waves(controller=controller)
    assert_as_alone(together, [wave_alone(i, controller=controller) for i in range(BATCH)])


def test_a_norm_of_the_users_is_that_of_a_sample() -> None:
    norm = lambda x: (x[..., 0] ** 2).mean().sqrt() + x.abs().amax()
    options = {"controller": PIDController(rtol=1e-4, atol=1e-6, norm=norm)}
    assert_as_alone(waves(**options), [wave_alone(i, **options) for i in range(BATCH)])


def test_a_tolerance_may_differ_from_sample_to_sample_and_from_entry_to_entry() -> None:
    rtol = torch.logspace(-8, -3, BATCH, dtype=DOUBLE)[:, None]
    atol = torch.tensor([1e-6, 1e-4, 1e-8], dtype=DOUBLE)
    alone = [wave_alone(i, rtol=rtol[i : i + 1], atol=atol) for i in range(BATCH)]
    assert_as_alone(waves(rtol=rtol, atol=atol), alone)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE, torch.complex128], ids=str)
def test_states_of_any_rank_and_dtype_advance(shape: tuple, dtype: torch.dtype) -> None:
    y0 = torch.full((BATCH, *shape), 1.5, dtype=dtype)
    rates = RATES[:, 0].reshape(BATCH, *[1] * len(shape)).to(y0.real.dtype)
    seen = []

    def f(t, y, rates):
        seen.append((t.shape, t.dtype, y.ndim))
        return -rates * t * y

    solution = odesolve(
        f, y0, STARTS, ENDS, args=(PerSample(rates),), batch="independent", rtol=1e-6, atol=1e-7
    )
    exact = y0 * torch.exp(-rates / 2 * (ENDS**2 - STARTS**2).reshape(rates.shape).to(rates.dtype))
    assert error(solution.y1, exact) < 2e-5 * float(exact.abs().max())
    assert all(len(s) == n and s[1:].numel() == 1 for s, _, n in seen)
    assert {d for _, d, _ in seen} == {y0.real.dtype}


def test_a_nested_state_advances_like_the_same_state_in_one_tensor() -> None:
    y0 = drawn(BATCH, 3)

    def nested(t, y, rate):
        assert t.shape == (len(y["a"]), 1)
        both = wave(t, torch.cat([y["a"], y["b"][0]], 1), rate)
        return {"a": both[:, :1], "b": (both[:, 1:],)}

    start = {"a": y0[:, :1], "b": (y0[:, 1:],)}
    options = {"batch": "independent", "save_at": torch.stack([STARTS, ENDS], 1)}
    one = waves(save_at=options["save_at"])
    solution = odesolve(nested, start, STARTS, ENDS, args=(PerSample(RATES),), **options)
    assert torch.equal(solution.y1["a"], one.y1[:, :1])
    assert torch.equal(solution.ys["b"][0], one.ys[:, :, 1:])


def test_leaves_of_several_ranks_receive_a_time_each_that_broadcasts() -> None:
    def f(t, y):
        assert t[0].shape == (len(y[0]),) and t[1].shape == (len(y[0]), 1, 1)
        return -t[0] * y[0], -t[1] * y[1]

    solution = odesolve(
        f, (drawn(3), drawn(3, 2, 2)), 0.0, ENDS[:3], batch="independent", rtol=1e-7
    )
    exact = drawn(3, 2, 2) * torch.exp(-(ENDS[:3] ** 2) / 2)[:, None, None]
    torch.testing.assert_close(solution.y1[1], exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS[:4], ids=[p.name for p in PROBLEMS[:4]])
@pytest.mark.parametrize("solver", ADAPTIVE)
def test_each_sample_reaches_the_closed_form_at_its_own_end(problem, solver: str) -> None:
    ends = torch.linspace(problem.t0 - 0.4, problem.t1, len(problem.y0), dtype=DOUBLE)
    solution = odesolve(
        problem.vector_field, problem.y0, problem.t0, ends,
        solver=solver, batch="independent", **TOLERANCES.get(solver, TIGHT),
    )  # fmt: skip
    limit = 0.1 if solver in ("heun", "fehlberg2") else 5e-3
    for i, end in enumerate(ends.tolist()):
        assert error(solution.y1[i], problem.exact(end)[i]) < limit
    assert torch.equal(solution.t1, ends)


def test_scipy_agrees() -> None:
    def lotka_volterra(t, y, rates):
        prey, predators = y[:, 0], y[:, 1]
        a, b, c, d = rates.unbind(1)
        return torch.stack([prey * (a - b * predators), predators * (c * prey - d)], 1)

    rates, y0 = 0.5 + torch.rand(5, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(1)), 1
    y0 = torch.ones(5, 2, dtype=DOUBLE)
    solution = odesolve(
        lotka_volterra, y0, 0.0, 10.0, args=(PerSample(rates),), batch="independent",
        rtol=1e-8, atol=1e-8,
    )  # fmt: skip
    for i, (a, b, c, d) in enumerate(rates.tolist()):
        f = lambda t, y, a=a, b=b, c=c, d=d: [y[0] * (a - b * y[1]), y[1] * (c * y[0] - d)]
        theirs = solve_ivp(f, (0, 10), [1.0, 1.0], rtol=1e-11, atol=1e-12).y[:, -1]
        np.testing.assert_allclose(solution.y1[i].numpy(), theirs, rtol=2e-6)


def test_the_field_is_never_evaluated_outside_of_a_samples_way() -> None:
    low, high = torch.minimum(STARTS, ENDS)[:, None], torch.maximum(STARTS, ENDS)[:, None]

    def f(t, y, low, high, rate):
        assert bool(((low <= t) & (t <= high)).all())
        return wave(t, y, rate)

    args = (PerSample((low, high)), PerSample(RATES))
    odesolve(
        lambda t, y, ways, rate: f(t, y, *ways, rate), drawn(BATCH, 3), STARTS, ENDS,
        args=args, batch="independent", rtol=1e-6, atol=1e-8,
    )  # fmt: skip


@pytest.mark.parametrize("solver", ["tsit5", "heun"])
def test_a_sample_that_is_done_costs_no_further_evaluation(solver: str) -> None:
    seen = torch.zeros(BATCH, dtype=torch.int64)

    def f(t, y, rate, sample):
        seen[sample] += 1
        return wave(t, y, rate)

    solution = odesolve(
        f, drawn(BATCH, 3), STARTS, ENDS, args=(PerSample(RATES), PerSample(torch.arange(BATCH))),
        batch="independent", solver=solver, rtol=1e-4, save_at=torch.stack([STARTS, ENDS], 1),
    )  # fmt: skip
    assert torch.equal(solution.stats.nfe_forward, seen)
    assert int(seen.max()) > 2 * int(seen.min())


def hard_and_easy() -> tuple[Tensor, Tensor]:
    y0 = torch.ones(64, 2, dtype=DOUBLE)
    rates = torch.full((64, 1), 0.2, dtype=DOUBLE)
    rates[17] = 25.0
    return y0, rates


def rotate(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    return rate * (1 + 0.5 * torch.sin(t)) * torch.stack([-y[:, 1], y[:, 0]], 1)


def rotated(y0: Tensor, rate: Tensor, t: float) -> Tensor:
    angle = rate * (t + 0.5 * (1 - math.cos(t)))
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.cat([c * y0[:, :1] - s * y0[:, 1:], s * y0[:, :1] + c * y0[:, 1:]], 1)


@pytest.mark.parametrize("batch", ["joint", "independent"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_a_hard_sample_among_easy_ones_is_as_accurate_as_alone(batch, tolerance: float) -> None:
    y0, rates = hard_and_easy()
    options = {"rtol": tolerance, "atol": tolerance}
    together = odesolve(rotate, y0, 0.0, 3.0, args=(PerSample(rates),), batch=batch, **options)
    exact = rotated(y0, rates, 3.0)
    for i in (0, 17):
        alone = odesolve(rotate, y0[i : i + 1], 0.0, 3.0, args=(rates[i : i + 1],), **options)
        limit = 2 * error(alone.y1[0], exact[i])
        assert error(together.y1[i], exact[i]) <= limit


def test_easy_samples_cost_what_they_cost_alone() -> None:
    y0, rates = hard_and_easy()
    together = odesolve(rotate, y0, 0.0, 3.0, args=(PerSample(rates),), batch="independent")
    for i in (0, 17):
        alone = odesolve(rotate, y0[i : i + 1], 0.0, 3.0, args=(rates[i : i + 1],))
        assert sample_stats(together.stats, i) == sample_stats(alone.stats, i)
    assert int(together.stats.nfe_forward[17]) > 10 * int(together.stats.nfe_forward[0])


def test_an_argument_for_each_sample_that_is_not_marked_is_explained() -> None:
    with pytest.raises(RuntimeError) as caught:
        odesolve(wave, drawn(BATCH, 3), STARTS, ENDS, args=(RATES,), batch="independent")
    assert any("PerSample" in note for note in caught.value.__notes__)


def test_marked_arguments_are_handed_over_whole_to_a_joint_solve() -> None:
    y0, rates = hard_and_easy()
    marked = odesolve(rotate, y0, 0.0, 1.0, args=(PerSample(rates),))
    assert torch.equal(marked.y1, odesolve(rotate, y0, 0.0, 1.0, args=(rates,)).y1)


def test_a_marked_argument_must_have_an_entry_for_each_sample() -> None:
    with pytest.raises(ValueError, match="`args` must hold 6 entries.*got shape \\(5, 1\\)"):
        odesolve(wave, drawn(BATCH, 3), 0, 1, args=(PerSample(RATES[1:]),), batch="independent")


def test_a_sample_of_no_length_stays_where_it_is() -> None:
    ends = torch.tensor([0.5, 0.0, -0.5], dtype=DOUBLE)
    y0, saves = drawn(3, 2), torch.tensor([0.0], dtype=DOUBLE)
    solution = odesolve(lambda t, y: -y, y0, 0.0, ends, batch="independent", save_at=saves)
    assert torch.equal(solution.y1[1], y0[1]) and torch.equal(solution.ys[0], y0)
    assert sample_stats(solution.stats, 1) == (0, 0, 0, 0)
    assert solution.result == (Result.SUCCESSFUL,) * 3
    unmoved = odesolve(lambda t, y: -y, y0, 0.0, 0.0, batch="independent")
    assert torch.equal(unmoved.y1, y0)


class CountHostReads(TorchFunctionMode):
    reads = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in ("tolist", "item", "__bool__", "__float__", "__int__"):
            self.reads += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("solver", ["tsit5", "heun", "dopri8"])
def test_an_attempted_step_reads_the_device_once(solver: str) -> None:
    def reads(t1: float) -> tuple[int, int]:
        saves = torch.linspace(0, t1, int(20 * t1), dtype=DOUBLE)
        tolerance = 1e-3 if solver in TOLERANCES else 1e-5
        controller = PIDController(rtol=tolerance, step_points=[0.1], jump_points=[0.5])
        with CountHostReads() as count:
            solution = odesolve(
                wave, drawn(BATCH, 3), 0.0, t1, args=(PerSample(RATES),), batch="independent",
                solver=solver, controller=controller, save_at=saves,
            )  # fmt: skip
        return count.reads, int(solution.stats.num_steps.max())

    (short, few), (long, many) = reads(1.0), reads(4.0)
    assert many > few
    assert long - short == many - few


@pytest.mark.parametrize("solver", ["rk4", "tsit5", "adams-moulton4", "leapfrog"])
def test_equal_steps_read_nothing_from_the_device(solver: str) -> None:
    with CountHostReads() as count:
        y0, ends = drawn(BATCH, 3), ENDS.clone()
        odesolve(
            lambda t, y: -t * y, y0, 0.0, ends, solver=solver, num_steps=4, batch="independent"
        )
    assert count.reads == 0


@pytest.mark.parametrize("solver", ["rk4", "tsit5", "adams-moulton4", "implicit-midpoint"])
def test_equal_steps_are_those_of_each_sample_alone(solver: str) -> None:
    solver = IMPLICIT_METHODS.get(solver, solver)
    together = waves(solver=solver, num_steps=7)
    for i in range(BATCH):
        alone = wave_alone(i, solver=solver, num_steps=7)
        torch.testing.assert_close(together.y1[i], alone.y1[0], rtol=1e-9, atol=1e-11)
        assert float(together.stats.dt_first[i]) == pytest.approx(alone.stats.dt_first)
    assert together.stats.num_steps.tolist() == [7] * BATCH
    assert torch.equal(together.t1, ENDS)


@pytest.mark.parametrize("solver", ["rk4", "tsit5", "heun"])
def test_equal_steps_save_each_samples_own_times(solver: str) -> None:
    share = torch.tensor([0.0, 0.3, 0.55, 1.0], dtype=DOUBLE)
    times = STARTS[:, None] + share * (ENDS - STARTS)[:, None]
    together = waves(solver=solver, num_steps=9, save_at=times)
    assert together.stats.num_steps.tolist() == [9] * BATCH
    for i in range(BATCH):
        alone = wave_alone(i, solver=solver, num_steps=9, save_at=times[i])
        torch.testing.assert_close(together.ys[:, i], alone.ys[:, 0], rtol=1e-10, atol=1e-12)


def test_a_solver_with_a_past_is_refused_where_steps_have_times_of_their_own() -> None:
    for solver in ("adams-bashforth4", "leapfrog"):
        with pytest.raises(ValueError, match="`solver` must be a one-step method"):
            waves(solver=solver, num_steps=9, save_at=torch.stack([STARTS, ENDS], 1))


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_save_times_of_each_sample_are_those_of_the_sample_alone(solver: str) -> None:
    share = torch.tensor([0.0, 0.1, 0.11, 0.5, 0.97, 1.0], dtype=DOUBLE)
    times = STARTS[:, None] + share * (ENDS - STARTS)[:, None]
    times[:, -1] = ENDS
    options = {"solver": solver, **TOLERANCES.get(solver, TIGHT)}
    together = waves(save_at=times, **options)
    alone = [wave_alone(i, save_at=times[i], **options) for i in range(BATCH)]
    assert_as_alone(together, alone)
    for i, solution in enumerate(alone):
        torch.testing.assert_close(together.ys[:, i], solution.ys[:, 0], **ROUNDING)
    assert torch.equal(together.ts, times)
    assert torch.equal(together.ys[-1], together.y1)


def test_times_for_all_samples_are_saved_for_each() -> None:
    y0, times = drawn(BATCH, 3), torch.tensor([0.2, 0.4, 1.0], dtype=DOUBLE)
    options = {"args": (PerSample(RATES),), "batch": "independent"}
    common = odesolve(wave, y0, 0.0, 1.0, save_at=times, **options)
    each = odesolve(wave, y0, 0.0, 1.0, save_at=times.expand(BATCH, 3), **options)
    listed = odesolve(wave, y0, 0.0, 1.0, save_at=times.tolist(), **options)
    assert torch.equal(common.ys, each.ys) and torch.equal(common.ys, listed.ys)
    assert torch.equal(common.ts, times) and each.ts.shape == (BATCH, 3)


def test_saved_times_do_not_change_the_steps_of_a_sample() -> None:
    plain, saved = waves(), waves(save_at=torch.stack([STARTS, 0.3 * STARTS + 0.7 * ENDS], 1))
    assert torch.equal(plain.y1, saved.y1)
    assert torch.equal(plain.stats.nfe_forward, saved.stats.nfe_forward)


def test_samples_may_have_different_numbers_of_times() -> None:
    times = torch.tensor([[0.5, 1.0, 2.0], [1.5, torch.nan, torch.nan]], dtype=DOUBLE)
    y0 = drawn(2, 1)
    options = {"batch": "independent", "rtol": 1e-8, "atol": 1e-8}
    ys = odesolve(lambda t, y: -y, y0, 0.0, 2.0, save_at=times, **options).ys
    exact = y0 * torch.exp(-times.T[:, :, None])
    torch.testing.assert_close(ys, exact, rtol=1e-6, atol=1e-7, equal_nan=True)


def test_a_rounded_end_is_a_save_time() -> None:
    times = torch.linspace(0.1, 0.7, 7)  # float32
    solution = odesolve(lambda t, y: -y, drawn(2, 1), 0.1, 0.7, save_at=times, batch="independent")
    assert torch.equal(solution.ys[0], drawn(2, 1)) and torch.equal(solution.ys[-1], solution.y1)


@pytest.mark.parametrize(
    "save_at, message",
    [
        ([0.2, 1.5], "between t0 = 0.0 and t1 = 1.0 for sample 1, got 1.5"),
        ([0.4, 0.2], "ordered from t0 to t1"),
        (torch.zeros(3, 2), r"shape \(times,\) or \(batch, times\) = \(2, times\), got \(3, 2\)"),
        ("steps", "must hold times"),
    ],
)
def test_times_that_cannot_be_saved_are_refused(save_at, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        odesolve(
            lambda t, y: -y, drawn(2, 1), 0.0, torch.tensor([2.0, 1.0]), save_at=save_at,
            batch="independent",
        )  # fmt: skip


@pytest.mark.parametrize(
    "options, message",
    [
        ({"controller": GridController(times=[0.5])}, "must not be a GridController"),
        ({"dense": True}, "`dense` must be False.*save_at"),
        ({"observer": lambda *_: None}, "`observer` must be None"),
        ({"t1": torch.ones(3)}, r"`t1` must be one number, or one a sample, shape \(2,\)"),
        ({"t1": torch.nan}, "`t1` must be finite"),
        ({"t0": torch.tensor([0.0, torch.inf])}, "`t0` must be finite"),
        ({"y0": torch.ones(())}, "`y0` must count the samples along dimension 0"),
        ({"y0": (torch.ones(2), torch.ones(3))}, "`y0` must count the samples along dimension 0"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_what_has_no_meaning_for_independent_samples_is_refused(options, message: str) -> None:
    given = {"y0": drawn(2, 1), "t0": 0.0, "t1": 1.0, **options}
    y0, t0, t1 = given.pop("y0"), given.pop("t0"), given.pop("t1")
    with pytest.raises(ValueError, match=message):
        odesolve(lambda t, y: y, y0, t0, t1, batch="independent", **given)


def test_a_failing_sample_is_named_with_its_time() -> None:
    y0 = torch.tensor([[0.1], [0.2], [1.0], [0.3]], dtype=DOUBLE)
    with pytest.raises(SolveError, match="The step size vanished.*sample 2.*Loosen") as caught:
        odesolve(lambda t, y: y * y, y0, 0, 2, batch="independent")
    assert caught.value.result is Result.DT_UNDERFLOW
    assert caught.value.t == pytest.approx(1.0, abs=1e-3)
    assert caught.value.dt is not None and 0 < caught.value.dt < 1e-13
    assert caught.value.slope is not None and caught.value.slope > 1e10


@pytest.mark.parametrize("solver", ["tsit5", "heun"])
def test_the_other_samples_finish_when_one_fails(solver: str) -> None:
    y0 = torch.tensor([[0.1], [1.0], [0.2], [torch.nan]], dtype=DOUBLE)
    solution = odesolve(
        lambda t, y: y * y,
        y0,
        0,
        2,
        batch="independent",
        throw=False,
        solver=solver,
        **TOLERANCES.get(solver, TIGHT),
    )
    assert solution.result == (
        Result.SUCCESSFUL, Result.DT_UNDERFLOW, Result.SUCCESSFUL, Result.NON_FINITE,
    )  # fmt: skip
    torch.testing.assert_close(solution.y1[[0, 2]], 1 / (1 / y0[[0, 2]] - 2), rtol=5e-2, atol=0)
    assert solution.t1.tolist() == [2.0, pytest.approx(1.0, abs=1e-2), 2.0, 0.0]
    assert float(solution.y1[1]) > 1e3 and math.isfinite(float(solution.y1[1]))
    assert isinstance(solution.error, SolveError) and solution.error.sample == 3
    assert solution.stats.num_steps[3] == 0


def test_the_time_at_which_a_field_turns_bad_is_told() -> None:
    def f(t, y, limit):
        return torch.where(t > limit, torch.nan, -y)

    limits = torch.tensor([[9.0], [0.5], [9.0]], dtype=DOUBLE)
    message = "first came from the vector field at t = 0.5 .*sample 1"
    with pytest.raises(SolveError, match=message) as caught:
        odesolve(f, drawn(3, 2), 0.0, 1.0, args=(PerSample(limits),), batch="independent")
    assert caught.value.t == pytest.approx(0.5, abs=1e-12)


def test_a_failure_backward_in_time_has_a_negative_dt() -> None:
    y0 = torch.tensor([[0.1], [1.0]], dtype=DOUBLE)
    with pytest.raises(SolveError, match="sample 1") as caught:
        odesolve(lambda t, y: -y * y, y0, 0, -2, batch="independent")
    assert caught.value.t == pytest.approx(-1.0, abs=1e-3)
    assert caught.value.dt is not None and caught.value.dt < 0


def test_a_last_step_that_overflows_is_a_failure() -> None:
    y0 = torch.tensor([[1.0], [1.6e308]], dtype=DOUBLE)
    solution = odesolve(
        lambda t, y, slope: slope, y0, 0.0, 1.0, args=PerSample((0.3 * y0,)), batch="independent",
        throw=False, controller=PIDController(dt0=1.0),
    )  # fmt: skip
    assert bool(solution.y1[1].isinf()) and int(solution.stats.num_rejected_steps[1]) == 0
    assert solution.result == (Result.SUCCESSFUL, Result.NON_FINITE)
    assert solution.error is not None and solution.error.sample == 1


def test_samples_that_use_up_max_steps_fail_and_the_others_do_not() -> None:
    rates = torch.tensor([[1.0], [1e4]], dtype=DOUBLE)
    f = lambda t, y, rate: -rate * (y - torch.sin(t))
    options = {"args": (PerSample(rates),), "batch": "independent", "max_steps": 60}
    with pytest.raises(SolveError, match="max_steps = 60 .*sample 1.*Raise `max_steps`"):
        odesolve(f, drawn(2, 1), 0.0, 1.0, **options)
    solution = odesolve(f, drawn(2, 1), 0.0, 1.0, throw=False, **options)
    assert solution.result == (Result.SUCCESSFUL, Result.MAX_STEPS)
    assert int(solution.stats.num_steps[1]) == 60 and 0 < float(solution.t1[1]) < 1


def test_the_fields_own_exception_passes_through() -> None:
    class OwnError(Exception):
        pass

    own = OwnError("mine")

    def f(t, y):
        if len(y) < BATCH:
            raise own
        return -y

    with pytest.raises(OwnError) as caught:
        odesolve(f, drawn(BATCH, 3), 0.0, ENDS, batch="independent")
    assert caught.value is own and not hasattr(own, "__notes__")


def test_a_wrong_shape_is_found_at_the_first_evaluation_of_rows() -> None:
    with pytest.raises(ValueError, match="tensor of the state's shape"):
        odesolve(lambda t, y: y[:, :2], drawn(BATCH, 3), 0.0, 1.0, batch="independent")


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_a_jump_is_seen_from_both_sides_by_samples_of_both_directions(dtype) -> None:
    y0 = torch.zeros(4, 2, dtype=dtype)
    t0 = torch.tensor([0.0, 0.3, 1.0, 2.0], dtype=DOUBLE)
    t1 = torch.tensor([2.0, 1.0, 3.0, -1.0], dtype=DOUBLE)

    def f(t, y):
        assert bool((t != 1).all())
        return torch.where(t < 1, 1.0, -3.0).to(y) + 0 * y

    controller = PIDController(rtol=1e-6, jump_points=[1.0])
    solution = odesolve(f, y0, t0, t1, controller=controller, batch="independent")
    exact = torch.tensor([1 - 3.0, 0.7, -6.0, 3.0 - 2.0], dtype=dtype)[:, None].expand(4, 2)
    torch.testing.assert_close(solution.y1, exact, rtol=1e-6, atol=1e-6)
    assert int(solution.stats.num_rejected_steps.sum()) == 0


def test_stiff_samples_advance_by_an_implicit_method() -> None:
    mu = torch.tensor([[1.0], [5.0], [20.0]], dtype=DOUBLE)

    def van_der_pol(t, y, mu):
        return torch.stack([y[:, 1], mu[:, 0] * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], 1)

    y0 = torch.tensor([[2.0, 0.0]], dtype=DOUBLE).expand(3, 2)
    options = {"solver": IMPLICIT_METHODS["kencarp4"], "rtol": 1e-6, "atol": 1e-8}
    solution = odesolve(
        van_der_pol, y0, 0.0, 3.0, args=(PerSample(mu),), batch="independent", **options
    )
    for i in range(3):
        alone = odesolve(van_der_pol, y0[:1], 0.0, 3.0, args=(mu[i : i + 1],), **options)
        torch.testing.assert_close(solution.y1[i], alone.y1[0], rtol=1e-7, atol=1e-8)
        assert int(solution.stats.num_steps[i]) == alone.stats.num_steps


HEIGHTS = torch.tensor([5.0, 1.0, 20.0, 100.0], dtype=DOUBLE)


def fall(t: Tensor, y: Tensor) -> Tensor:
    return torch.stack([y[:, 1], torch.full_like(y[:, 1], -10.0)], 1)


def dropped(**options) -> Solution:
    y0 = torch.stack([HEIGHTS, torch.zeros(4, dtype=DOUBLE)], 1)
    return odesolve(fall, y0, 0.0, 3.0, batch="independent", rtol=1e-6, **options)


def test_a_terminal_event_ends_each_sample_at_its_own_time() -> None:
    solution = dropped(event=Event(lambda t, y: y[:, 0]))
    exact = torch.sqrt(HEIGHTS[:3] / 5)
    torch.testing.assert_close(solution.t1[:3], exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(solution.y1[:3, 1], -10 * exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(solution.y1[3, 0], HEIGHTS[3] - 45, rtol=1e-12, atol=0)
    assert solution.result == (Result.EVENT,) * 3 + (Result.SUCCESSFUL,)
    assert torch.equal(solution.event_ts[0][0, :3], solution.t1[:3])
    assert torch.equal(solution.event_ys[0][0, :3], solution.y1[:3])
    assert bool(solution.event_ts[0][0, 3].isnan()) and float(solution.t1[3]) == 3.0


def test_nothing_counts_after_a_terminal_event() -> None:
    """One long step crosses both; what lies behind the floor must not be handed out."""
    floor, below = Event(lambda t, y: y[:, 0]), Event(lambda t, y: y[:, 0] + 0.01, terminal=False)
    times = torch.tensor([0.0, 0.4, 1.9, 2.9], dtype=DOUBLE)
    solution = dropped(event=[floor, below], save_at=times)
    assert int(solution.stats.num_steps.max()) < 10
    assert solution.event_ts[1].shape == (0, 4)
    expected = HEIGHTS - 5 * times[:, None] ** 2
    expected = torch.where(expected < 0, torch.nan, expected)
    torch.testing.assert_close(
        solution.ys[:, :, 0], expected, rtol=1e-10, atol=1e-10, equal_nan=True
    )


def test_the_first_of_two_terminal_events_in_a_step_ends_it() -> None:
    events = [Event(lambda t, y: y[:, 0] + 0.02), Event(lambda t, y: y[:, 0])]
    solution = dropped(event=events)
    torch.testing.assert_close(solution.t1[:3], torch.sqrt(HEIGHTS[:3] / 5), rtol=1e-12, atol=0)
    assert solution.event_ts[0].shape == (0, 4) and solution.event_ts[1].shape == (1, 4)


@pytest.mark.parametrize("direction", [-1, 0, 1])
@pytest.mark.parametrize("solver", ["tsit5", "heun", "dopri8"])
def test_roots_are_those_of_each_sample_in_its_direction(direction: int, solver: str) -> None:
    rates = torch.tensor([[1.0], [2.5], [0.3], [2.0]], dtype=DOUBLE)
    y0 = torch.tensor([[1.0, 0.2]], dtype=DOUBLE).expand(4, 2)
    ends = torch.tensor([7.0, 7.0, 7.0, -7.0], dtype=DOUBLE)
    f = lambda t, y, rate: rate * torch.stack([-y[:, 1], y[:, 0]], 1)
    event = Event(lambda t, y: y[..., 0], terminal=False, direction=direction)
    options = {"event": event, "solver": solver, **TOLERANCES.get(solver, TIGHT)}
    together = odesolve(f, y0, 0.0, ends, args=(PerSample(rates),), batch="independent", **options)
    joint = Event(lambda t, y: y[0, 0], terminal=False, direction=direction)
    sizes = []
    for i in range(4):
        alone = odesolve(
            f, y0[:1], 0.0, float(ends[i]), args=(rates[i],), **{**options, "event": joint}
        )
        ts, ys = alone.event_ts[0], alone.event_ys[0][:, 0]
        sizes.append(len(ts))
        column, states = together.event_ts[0][:, i], together.event_ys[0][:, i]
        torch.testing.assert_close(column[: len(ts)], ts, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(states[: len(ts)], ys, rtol=1e-6, atol=1e-7)
        assert bool(column[len(ts) :].isnan().all()) and bool(states[len(ts) :].isnan().all())
        assert sample_stats(together.stats, i) == sample_stats(alone.stats, i)
    assert together.event_ts[0].shape == (max(sizes), 4) and len(set(sizes)) > 1


def test_a_root_is_as_accurate_as_its_tolerance_asks() -> None:
    loose = dropped(event=Event(lambda t, y: torch.tanh(y[:, 0]), tolerance=1e-3))
    miss = (loose.t1[:3] - torch.sqrt(HEIGHTS[:3] / 5)).abs()
    assert 1e-9 < float(miss.max()) < 1e-3


def test_an_event_of_a_nested_state_receives_it_nested() -> None:
    f = lambda t, y: {"h": y["v"], "v": torch.full_like(y["v"], -10.0)}
    y0 = {"h": HEIGHTS, "v": torch.zeros(4, dtype=DOUBLE)}
    event = Event(lambda t, y: y["h"] + 0 * t)
    solution = odesolve(f, y0, 0.0, 9.0, event=event, batch="independent")
    torch.testing.assert_close(solution.t1, torch.sqrt(HEIGHTS / 5), rtol=1e-10, atol=0)
    assert solution.event_ys[0]["v"].shape == (1, 4)


def test_equal_steps_find_events_too() -> None:
    y0 = torch.stack([HEIGHTS, torch.zeros(4, dtype=DOUBLE)], 1)
    event = Event(lambda t, y: y[:, 0])
    solution = odesolve(
        fall, y0, 0.0, 5.0, event=event, batch="independent", num_steps=6, solver="rk4"
    )
    torch.testing.assert_close(solution.t1, torch.sqrt(HEIGHTS / 5), rtol=1e-10, atol=0)


def test_an_event_may_have_an_argument_for_each_sample() -> None:
    floors = torch.tensor([0.0, 0.5, 3.0, 80.0], dtype=DOUBLE)
    event = Event(lambda t, y, floor: y[:, 0] - floor, args=PerSample((floors,)))
    solution = dropped(event=event)
    torch.testing.assert_close(solution.t1, torch.sqrt((HEIGHTS - floors) / 5), rtol=1e-12, atol=0)
    joint = Event(lambda t, y, floor: (y[:, 0] - floor).min(), args=(floors,))
    y0 = torch.stack([HEIGHTS, torch.zeros(4, dtype=DOUBLE)], 1)
    first = odesolve(fall, y0, 0.0, 3.0, event=joint).t1
    torch.testing.assert_close(first, solution.t1.min(), rtol=1e-12, atol=0)


def test_an_event_must_give_one_number_a_sample() -> None:
    with pytest.raises(ValueError, match=r"`event` must return one number a sample, shape \(4,\)"):
        dropped(event=Event(lambda t, y: y[0, 0]))
