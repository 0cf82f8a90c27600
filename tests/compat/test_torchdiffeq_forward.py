"""odeint: the same solutions, shapes and structures as torchdiffeq's."""

from types import ModuleType

import pytest
import torch
from problems import DOUBLE, complex_rotation, error, spiral
from torch import Tensor

from odevision import SolveError
from odevision.compat import torchdiffeq as drop_in
from odevision.compat.torchdiffeq.methods import ADAPTIVE, EXPLICIT, IMPLICIT

SHARED_ADAPTIVE = [name for name in ADAPTIVE if name != "tsit5"]  # newer than the 0.2.5 wheel
MATRIX = torch.tensor([[-0.2, -2.0], [2.0, -0.2]], dtype=DOUBLE)


def cubic_spiral(t: Tensor, y: Tensor) -> Tensor:
    return (y**3) @ MATRIX.to(y.dtype) * torch.cos(t)


def start() -> Tensor:
    return torch.tensor([[1.0, 0.5], [0.3, -0.8]], dtype=DOUBLE)


def times(*, reverse: bool = False) -> Tensor:
    t = torch.linspace(0.2, 1.7, 6, dtype=DOUBLE)
    return t.flip(0) if reverse else t


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("method", SHARED_ADAPTIVE)
def test_adaptive_methods_agree_with_torchdiffeq(
    torchdiffeq: ModuleType, method: str, reverse: bool
) -> None:
    rtol = 1e-4 if method == "adaptive_heun" else 1e-6
    solve = lambda library: library.odeint(
        cubic_spiral, start(), times(reverse=reverse), rtol=rtol, atol=rtol / 100, method=method
    )
    exact = drop_in.odeint(cubic_spiral, start(), times(reverse=reverse), method="dopri8")
    ours = error(solve(drop_in), exact)
    assert ours < 1e-3
    assert ours < max(2 * error(solve(torchdiffeq), exact), 1e-6)


@pytest.mark.parametrize("options", [{}, {"step_size": 0.04}, {"step_size": 0.04, "perturb": True}])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("method", EXPLICIT)
def test_fixed_steps_are_torchdiffeqs_to_rounding(
    torchdiffeq: ModuleType, method: str, reverse: bool, options: dict
) -> None:
    solve = lambda library: library.odeint(
        cubic_spiral, start(), times(reverse=reverse), method=method, options=options
    )
    assert error(solve(drop_in), solve(torchdiffeq)) < 1e-12


@pytest.mark.parametrize("interp", ["linear", "cubic"])
def test_times_between_steps_are_interpolated_as_in_torchdiffeq(
    torchdiffeq: ModuleType, interp: str
) -> None:
    options = {"step_size": 0.37, "interp": interp}
    solve = lambda library: library.odeint(
        cubic_spiral, start(), times(), method="rk4", options=options
    )
    assert error(solve(drop_in), solve(torchdiffeq)) < 1e-12


@pytest.mark.parametrize("reverse", [False, True])
def test_a_grid_constructor_sets_the_steps(library: ModuleType, reverse: bool) -> None:
    seen = []

    def grid(func: object, y0: Tensor, t: Tensor) -> Tensor:
        del func, y0
        return torch.linspace(float(t[0]), float(t[-1]), 4, dtype=t.dtype)

    def field(t: Tensor, y: Tensor) -> Tensor:
        seen.append(float(t))
        return -y

    t = times(reverse=reverse)
    library.odeint(field, start(), t, method="euler", options={"grid_constructor": grid})
    expected = torch.linspace(float(t[0]), float(t[-1]), 4, dtype=DOUBLE)[:-1]
    assert seen == pytest.approx(expected.tolist(), rel=1e-12)


@pytest.mark.parametrize("options", [{"max_order": 4}, {"max_order": 6, "max_iters": 8}])
@pytest.mark.parametrize("method", ["explicit_adams", "implicit_adams", "fixed_adams"])
def test_adams_methods_agree_with_torchdiffeq(
    torchdiffeq: ModuleType, method: str, options: dict
) -> None:
    options = {"step_size": 0.01, **options}
    solve = lambda library: library.odeint(
        cubic_spiral, start(), times(), method=method, options=options, rtol=1e-6, atol=1e-8
    )
    # The explicit methods are the same; the orders of the first implicit steps differ.
    bound = 1e-12 if method == "explicit_adams" else 1e-7
    assert error(solve(drop_in), solve(torchdiffeq)) < bound


def test_implicit_adams_without_its_corrector_is_explicit_adams(torchdiffeq: ModuleType) -> None:
    options = {"step_size": 0.01, "max_order": 5}
    solve = lambda library, method, **more: library.odeint(
        cubic_spiral, start(), times(), method=method, options={**options, **more}
    )
    ours = solve(drop_in, "implicit_adams", implicit=False)
    assert torch.equal(ours, solve(drop_in, "explicit_adams"))
    assert error(ours, solve(torchdiffeq, "implicit_adams", implicit=False)) < 1e-12


@pytest.mark.parametrize("max_order", [2, 3])
def test_a_small_max_order_warns_and_leaves_rk4(library: ModuleType, max_order: int) -> None:
    options = {"step_size": 0.1, "max_order": max_order}
    with pytest.warns(UserWarning, match="max_order"):
        adams = library.odeint(
            cubic_spiral, start(), times(), method="explicit_adams", options=options
        )
    rk4 = library.odeint(cubic_spiral, start(), times(), method="rk4", options={"step_size": 0.1})
    assert error(adams, rk4) < 1e-12


def test_a_correction_that_does_not_converge_warns_and_goes_on(library: ModuleType) -> None:
    options = {"step_size": 0.1, "max_order": 4, "max_iters": 1}
    with pytest.warns(UserWarning, match="converge"):
        ys = library.odeint(
            cubic_spiral,
            start(),
            times(),
            method="implicit_adams",
            options=options,
            rtol=1e-12,
            atol=1e-12,
        )
    assert torch.isfinite(ys).all()


@pytest.mark.parametrize("method", IMPLICIT)
def test_implicit_methods_solve_a_stiff_field(method: str) -> None:
    rates = torch.tensor([-1.0, -300.0], dtype=DOUBLE)
    ys = drop_in.odeint(
        lambda t, y: rates * y,
        torch.ones(2, dtype=DOUBLE),
        torch.tensor([0.0, 1.0], dtype=DOUBLE),
        method=method,
        options={"step_size": 0.02, "max_iters": 50},
    )
    assert abs(float(ys[-1, 0]) - torch.e**-1) < 1e-2
    assert abs(float(ys[-1, 1])) < 1.0


def test_max_iters_bounds_the_iterations_of_an_implicit_step() -> None:
    options = {"step_size": 0.5, "max_iters": 1}
    with pytest.raises(SolveError, match="Newton"):
        drop_in.odeint(cubic_spiral, start(), times(), method="gl6", options=options)


def test_gl4_has_order_four() -> None:
    problem = spiral()
    t = torch.tensor([problem.t0, problem.t1], dtype=DOUBLE)
    errors = [
        error(
            drop_in.odeint(
                problem.vector_field, problem.y0, t, method="gl4", options={"step_size": step}
            )[-1],
            problem.y1,
        )
        for step in (0.2, 0.1)
    ]
    assert 13 < errors[0] / errors[1] < 19


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_solutions_keep_the_states_dtype_whatever_that_of_the_times(
    library: ModuleType, method: str, dtype: torch.dtype
) -> None:
    ys = library.odeint(
        cubic_spiral, start().to(dtype), times(), method=method, rtol=1e-4, atol=1e-5
    )
    assert ys.dtype == dtype and ys.shape == (6, 2, 2)


def test_the_field_receives_times_in_the_states_precision(library: ModuleType) -> None:
    seen = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        seen.append((t.dtype, t.shape))
        return -y

    library.odeint(field, torch.ones(2), times(), rtol=1e-3, atol=1e-3)
    assert set(seen) == {(torch.float32, torch.Size([]))}


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "rk4"])
def test_complex_states_rotate(library: ModuleType, method: str) -> None:
    problem = complex_rotation()
    t = torch.tensor([problem.t0, problem.t1], dtype=DOUBLE)
    options = {"step_size": 0.01} if method == "rk4" else {}
    ys = library.odeint(problem.vector_field, problem.y0, t, method=method, options=options)
    assert error(ys[-1], problem.y1) < (1e-4 if method == "bosh3" else 1e-6)


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_a_tuple_of_any_shapes_comes_back_as_a_tuple(library: ModuleType, method: str) -> None:
    y0 = (torch.tensor(1.0, dtype=DOUBLE), start(), torch.ones(3, 0, dtype=DOUBLE))

    def field(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        assert isinstance(state, tuple)
        assert [y.shape for y in state] == [(), (2, 2), (3, 0)]
        return -state[0], cubic_spiral(t, state[1]), state[2]

    ys = library.odeint(field, y0, times(), method=method, options={})
    alone = library.odeint(cubic_spiral, start(), times(), method=method)
    assert isinstance(ys, tuple) and [y.shape for y in ys] == [(6,), (6, 2, 2), (6, 3, 0)]
    assert error(ys[1], alone) < (1e-7 if method == "dopri5" else 1e-14)


@pytest.mark.parametrize("method", ["dopri5", "rk4", "implicit_adams"])
def test_a_single_time_gives_the_initial_state(library: ModuleType, method: str) -> None:
    ys = library.odeint(cubic_spiral, start(), times()[:1], method=method)
    assert torch.equal(ys, start()[None])


def test_a_single_time_gives_a_tuples_initial_state(library: ModuleType) -> None:
    ys = library.odeint(lambda t, y: y, (start(), start()[0]), times()[:1])
    assert torch.equal(ys[0], start()[None]) and torch.equal(ys[1], start()[:1])


def test_a_slope_that_broadcasts_is_broadcast(library: ModuleType) -> None:
    ys = library.odeint(
        lambda t, y: torch.tensor(2.0, dtype=DOUBLE), start(), times(), method="rk4"
    )
    assert error(ys[-1], start() + 2 * (1.7 - 0.2)) < 1e-12


@pytest.mark.parametrize("slope", [2.0, 2])
def test_a_number_is_a_slope_of_fixed_steps(library: ModuleType, slope: float) -> None:
    ys = library.odeint(lambda t, y: slope, start(), times(), method="euler")
    assert error(ys[-1], start() + 2 * (1.7 - 0.2)) < 1e-12


@pytest.mark.parametrize("method", ["dopri5", "rk4", "explicit_adams"])
def test_leading_ones_of_a_slope_are_dropped(library: ModuleType, method: str) -> None:
    ys = library.odeint(lambda t, y: -y[None], start(), times(), method=method)
    assert torch.equal(ys, library.odeint(lambda t, y: -y, start(), times(), method=method))


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
@pytest.mark.parametrize(
    "shape, to", [((1, 3), (3,)), ((1, 1, 3), (1, 3)), ((1, 1), ()), ((), (1,))]
)
def test_a_slope_with_all_entries_may_have_other_ones(
    library: ModuleType, shape: tuple[int, ...], to: tuple[int, ...], method: str
) -> None:
    y0 = torch.ones(shape, dtype=DOUBLE)
    ys = library.odeint(lambda t, y: -y.reshape(to), y0, times(), method=method)
    assert torch.equal(ys, library.odeint(lambda t, y: -y, y0, times(), method=method))


@pytest.mark.parametrize("slope", [lambda y: -y[:1], lambda y: -y[0], lambda y: -y.mean()])
def test_a_slope_of_too_few_entries_is_refused_by_adaptive_steps(
    library: ModuleType, slope
) -> None:
    assert library.odeint(lambda t, y: slope(y), start(), times(), method="rk4").shape[1:] == (2, 2)
    with pytest.raises((ValueError, RuntimeError), match="shape"):
        library.odeint(lambda t, y: slope(y), start(), times(), method="dopri5")


def test_a_slope_of_another_precision_is_cast(library: ModuleType) -> None:
    ys = library.odeint(lambda t, y: -y.double(), torch.ones(2), times(), rtol=1e-4, atol=1e-4)
    assert ys.dtype == torch.float32


@pytest.mark.parametrize("tolerance", ["number", "tensor", "entrywise"])
def test_tolerances_of_every_form_mean_the_same(library: ModuleType, tolerance: str) -> None:
    forms = {
        "number": 1e-5,
        "tensor": torch.tensor(1e-5, dtype=DOUBLE),
        "entrywise": torch.full((2, 2), 1e-5, dtype=DOUBLE),
    }
    ys = library.odeint(cubic_spiral, start(), times(), rtol=1e-5, atol=forms[tolerance])
    expected = library.odeint(cubic_spiral, start(), times(), rtol=1e-5, atol=1e-5)
    assert error(ys, expected) < 1e-12


@pytest.mark.parametrize("form", [list, tuple, torch.tensor])
def test_each_tensor_of_a_tuple_may_have_its_own_tolerance(library: ModuleType, form: type) -> None:
    y0 = (start(), torch.ones(1, dtype=DOUBLE))

    def count(tolerance: object) -> int:
        calls = 0

        def field(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            nonlocal calls
            calls += 1
            return cubic_spiral(t, state[0]), torch.sin(20 * t) * state[1]

        library.odeint(field, y0, times(), rtol=tolerance, atol=tolerance)
        return calls

    loose, tight = count(form([1e-3, 1e-2])), count(form([1e-3, 1e-8]))
    assert loose < tight <= count(form([1e-8, 1e-8])) * 1.1


def test_failures_are_solve_errors_that_name_the_time() -> None:
    with pytest.raises(SolveError, match=r"t = 0\.5"):
        drop_in.odeint(
            lambda t, y: torch.where(t > 0.5, torch.nan, 1.0) * y,
            torch.ones(2, dtype=DOUBLE),
            torch.tensor([0.0, 1.0], dtype=DOUBLE),
        )
