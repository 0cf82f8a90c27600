"""Options of torchdiffeq's methods: each changes what it changes there."""

from types import ModuleType
from typing import Any

import pytest
import torch
from problems import DOUBLE, error
from torch import Tensor

from odevision import SolveError
from odevision.compat import torchdiffeq as drop_in


class Clocked:
    """A field that remembers when it was evaluated, and each step's length."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.steps: list[tuple[float, float]] = []

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.times.append(float(t))
        return torch.sin(3 * t) * y

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.steps.append((float(t0), float(dt)))

    @property
    def lengths(self) -> list[float]:
        return [dt for _, dt in self.steps]


def solve(library: ModuleType, *, reverse: bool = False, **settings: Any) -> tuple[Tensor, Clocked]:
    field = Clocked()
    t = torch.tensor([2.0, 0.0] if reverse else [0.0, 2.0], dtype=DOUBLE)
    options = {"rtol": 1e-5, "atol": 1e-7, **settings}
    return library.odeint(field, torch.ones(3, dtype=DOUBLE), t, **options)[-1], field


def test_first_step_is_the_first_step(library: ModuleType) -> None:
    _, field = solve(library, options={"first_step": 0.0625})
    assert field.lengths[0] == 0.0625


def test_max_step_bounds_all_steps(library: ModuleType) -> None:
    _, field = solve(library, rtol=1e-1, atol=1e-1, options={"max_step": 0.05})
    assert max(field.lengths) <= 0.05 * 1.01
    assert len(field.lengths) >= 39


def test_min_step_is_taken_whatever_the_error(library: ModuleType) -> None:
    options = {"min_step": 0.25, "first_step": 0.25}
    _, field = solve(library, rtol=1e-12, atol=1e-12, options=options)
    assert len(field.lengths) <= 9
    assert min(field.lengths[:-1]) >= 0.25 - 1e-9


def test_ifactor_bounds_the_growth_of_a_step(library: ModuleType) -> None:
    options = {"first_step": 1e-4, "ifactor": 2.0}
    lengths = solve(library, options=options)[1].lengths
    growth = [later / earlier for earlier, later in zip(lengths, lengths[1:], strict=False)]
    assert 1.99 < max(growth) < 2.01


def test_dfactor_bounds_the_shrinkage_of_a_step(library: ModuleType) -> None:
    options = {"first_step": 1.5, "dfactor": 0.7}
    lengths = solve(library, rtol=1e-9, atol=1e-9, options=options)[1].lengths
    assert lengths[1] / lengths[0] == pytest.approx(0.7)


def test_safety_scales_the_step_after_a_rejected_one(library: ModuleType) -> None:
    def second(safety: float) -> float:
        options = {"first_step": 1.5, "dfactor": 1e-3, "safety": safety}
        return solve(library, rtol=1e-9, atol=1e-9, options=options)[1].lengths[1]

    assert second(0.9) == pytest.approx(2 * second(0.45))


@pytest.mark.parametrize("reverse", [False, True])
def test_step_t_are_landed_on(library: ModuleType, reverse: bool) -> None:
    options = {"step_t": torch.tensor([0.71, 1.37], dtype=DOUBLE)}
    field = solve(library, reverse=reverse, options=options)[1]
    starts = {round(t0, 12) for t0, _ in field.steps}
    assert {0.71, 1.37} <= starts


@pytest.mark.parametrize("reverse", [False, True])
def test_jump_t_saves_evaluations_where_the_field_jumps(library: ModuleType, reverse: bool) -> None:
    evaluations = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        evaluations.append(float(t))
        return torch.where(t < 0.5, -0.5 * y, y**2)

    t = torch.tensor([1.0, 0.0] if reverse else [0.0, 1.0], dtype=DOUBLE)
    y0 = torch.tensor([0.4, 0.7], dtype=DOUBLE)
    counts = []
    for options in ({}, {"jump_t": torch.tensor([0.5], dtype=DOUBLE)}):
        evaluations.clear()
        library.odeint(field, y0, t, rtol=1e-6, atol=1e-8, options=options)
        counts.append(len(evaluations))
    assert counts[1] < 0.7 * counts[0]
    assert 0.5 not in evaluations


def test_times_in_both_step_t_and_jump_t_are_refused(library: ModuleType) -> None:
    at = torch.tensor([0.5], dtype=DOUBLE)
    with pytest.raises(ValueError, match="step_t"):
        solve(library, options={"step_t": at, "jump_t": at})


def test_max_num_steps_ends_a_solve_with_a_clear_error() -> None:
    with pytest.raises(SolveError, match="max_steps = 5"):
        solve(drop_in, rtol=1e-10, options={"max_num_steps": 5})


def test_dtype_is_accepted(library: ModuleType) -> None:
    y1, _ = solve(library, options={"dtype": torch.float64})
    assert error(y1, solve(library)[0]) == 0


def test_a_norm_receives_tensors_in_units_of_the_tolerance(torchdiffeq: ModuleType) -> None:
    largest = {}

    def solve_with_norm(library: ModuleType) -> int:
        def norm(x: Tensor) -> Tensor:
            assert isinstance(x, Tensor) and x.shape == (3,)
            size = x.abs().max()
            largest[library] = max(largest.get(library, 0.0), float(size))
            return size

        return len(solve(library, options={"norm": norm})[1].times)

    ours, theirs = solve_with_norm(drop_in), solve_with_norm(torchdiffeq)
    assert ours <= 1.1 * theirs
    # The largest value is that of the first slope, before any step.
    assert largest[drop_in] == pytest.approx(largest[torchdiffeq], rel=1e-6)


def test_a_norm_that_is_not_homogeneous_is_taken_at_its_word(torchdiffeq: ModuleType) -> None:
    # In other units than those of the tolerance its root would be another number.
    options = {"norm": lambda x: x.abs().max().sqrt()}
    count = lambda library: len(solve(library, method="bosh3", options=options)[1].times)
    assert count(drop_in) == pytest.approx(count(torchdiffeq), rel=0.1)


def test_a_norm_of_a_tuple_receives_a_tuple(library: ModuleType) -> None:
    shapes = set()

    def norm(parts: tuple[Tensor, ...]) -> Tensor:
        assert isinstance(parts, tuple)
        shapes.add(tuple(part.shape for part in parts))
        return torch.stack([part.abs().max() for part in parts]).max()

    y0 = (torch.tensor(1.0), torch.ones(2, 2))
    t = torch.tensor([0.0, 1.0])
    field = lambda t, y: (-y[0], -2 * y[1])
    library.odeint(field, y0, t, rtol=1e-3, atol=1e-4, options={"norm": norm})
    assert shapes == {((), (2, 2))}


def test_the_default_norm_is_the_largest_rms_of_a_tuple(torchdiffeq: ModuleType) -> None:
    # A hard entry beside many easy ones: their mean hides it in one tensor, and not in a tuple.
    def count(library: ModuleType, joint: bool) -> int:
        calls = []

        def field(t: Tensor, y: Any) -> Any:
            calls.append(t)
            hard = lambda x: 5 * torch.cos(9 * t) * x
            if joint:
                return torch.cat([hard(y[:1]), torch.zeros_like(y[1:])])
            return hard(y[0]), torch.zeros_like(y[1])

        y0 = torch.ones(1000, dtype=DOUBLE)
        library.odeint(
            field,
            y0 if joint else (y0[:1], y0[1:]),
            torch.tensor([0.0, 3.0], dtype=DOUBLE),
            rtol=1e-5,
            atol=1e-5,
            method="bosh3",
        )
        return len(calls)

    for joint in (True, False):
        assert count(drop_in, joint) == pytest.approx(count(torchdiffeq, joint), rel=0.2)
    assert count(drop_in, False) > 1.5 * count(drop_in, True)


@pytest.mark.parametrize("method", ["dopri5", "rk4", "implicit_adams", "scipy_solver"])
def test_an_unknown_option_warns_and_changes_nothing(library: ModuleType, method: str) -> None:
    def solve_with(options: dict) -> Tensor:
        t = torch.linspace(0, 1, 9, dtype=DOUBLE)
        y0 = torch.ones(2, dtype=DOUBLE)
        return library.odeint(lambda t, y: torch.sin(t) * y, y0, t, method=method, options=options)

    with pytest.warns(UserWarning, match="made_up"):
        ys = solve_with({"made_up": 3})
    assert torch.equal(ys, solve_with({}))


def test_an_option_of_another_kind_of_method_warns(library: ModuleType) -> None:
    with pytest.warns(UserWarning, match="step_size"):
        solve(library, options={"step_size": 0.1})


def test_the_callers_options_are_left_as_they_were(library: ModuleType) -> None:
    options = {"first_step": 0.1, "step_t": torch.tensor([0.5], dtype=DOUBLE)}
    before = dict(options)
    solve(library, reverse=True, options=options)
    assert options == before


def test_step_size_and_grid_constructor_exclude_each_other(library: ModuleType) -> None:
    options = {"step_size": 0.1, "grid_constructor": lambda f, y0, t: t}
    with pytest.raises(ValueError, match="exclu"):
        solve(library, method="rk4", options=options)


def test_an_unknown_interp_is_refused(library: ModuleType) -> None:
    with pytest.raises(ValueError, match="interp"):
        solve(library, method="rk4", options={"step_size": 0.3, "interp": "quintic"})


def test_perturb_moves_evaluations_off_the_ends_of_steps(library: ModuleType) -> None:
    options = {"step_size": 0.5, "perturb": True}
    _, field = solve(library, method="rk4", options=options)
    assert not {0.0, 0.5, 1.0, 1.5, 2.0} & set(field.times)
    _, plain = solve(library, method="rk4", options={"step_size": 0.5})
    assert field.times == pytest.approx(plain.times, abs=1e-12)


@pytest.mark.parametrize(
    "options", [{"safety": 1.5}, {"ifactor": 0.5}, {"dfactor": 2.0}, {"max_step": 0.0}]
)
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        solve(drop_in, options=options)


@pytest.mark.parametrize("grid", [[0.1, 2.0], [0.0, 1.9], [0.0, 1.5, 1.0, 2.0]])
def test_a_grid_that_is_no_way_from_start_to_end_is_refused(grid: list[float]) -> None:
    options = {"grid_constructor": lambda f, y0, t: torch.tensor(grid, dtype=DOUBLE)}
    with pytest.raises(ValueError, match="grid_constructor"):
        solve(drop_in, method="rk4", options=options)
