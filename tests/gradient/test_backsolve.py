"""The continuous adjoint: right up to the tolerance, and with a warning that says so."""

import warnings

import pytest
import torch
from cases import CASES, drawn, gradients, gradients_of_all
from problems import DOUBLE
from torch import Tensor, nn

from odevision import Event, GridController, PIDController, SolveError, odesolve
from odevision.gradient import Backsolve
from odevision.gradient.backsolve import ConvergentGradientWarning

quiet = pytest.mark.filterwarnings("ignore::odevision.gradient.backsolve.ConvergentGradientWarning")
each_path = pytest.mark.parametrize("path", ["resolved", "interpolated"])
SAVED = [0.2, 0.31, 0.52, 1.1]


def sine(t: Tensor, y: Tensor) -> Tensor:
    return torch.sin(y)


def worst(ours, exact) -> float:
    pairs = zip(ours, exact, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@quiet
@pytest.mark.parametrize(
    "path, norm, save_at",
    [
        ("resolved", "full", None),
        ("resolved", "seminorm", SAVED),
        ("interpolated", "full", SAVED),
        ("interpolated", "seminorm", None),
    ],
)
def test_the_error_falls_with_the_tolerance(path, norm, save_at) -> None:
    options = {"solver": "tsit5", "save_at": save_at}
    exact = gradients_of_all("direct", rtol=1e-11, atol=1e-12, **options)
    errors = [
        worst(
            gradients_of_all(
                Backsolve(path=path, norm=norm), rtol=rtol, atol=0.1 * rtol, **options
            ),
            exact,
        )
        for rtol in (1e-4, 1e-6, 1e-8)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


@quiet
@each_path
def test_the_error_falls_with_fixed_steps(path) -> None:
    exact = gradients_of_all("direct", solver="tsit5", rtol=1e-11, atol=1e-12)
    errors = [
        worst(gradients_of_all(Backsolve(path=path), solver="bosh3", num_steps=n), exact)
        for n in (10, 20)
    ]
    assert errors[0] > 6 * errors[1]


@quiet
@pytest.mark.parametrize("make", CASES, ids=[case.__name__ for case in CASES])
def test_backsolve_reaches_every_tensor_once(make) -> None:
    options = {"solver": "dopri5", "rtol": 1e-4, "atol": 1e-5}
    exact = gradients(make, "direct", **options)
    ours = gradients(make, "backsolve", **options)
    for a, b in zip(ours, exact, strict=True):
        scale = float(b.abs().max())
        torch.testing.assert_close(a, b, rtol=0, atol=0.05 * scale)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 2)).double()

    def forward(self, t, y):
        return 3 * self.net(y) * torch.cos(5 * t)


@quiet
@each_path
def test_the_seminorm_needs_fewer_evaluations_where_parameters_are_many(path) -> None:
    counts = []
    for norm in ("full", "seminorm"):
        field, y0 = Wide(), drawn(16, 2)
        options = {"rtol": 1e-6, "atol": 1e-8, "gradient": Backsolve(norm=norm, path=path)}
        solution = odesolve(field, y0, 0, 1, **options)
        (1e2 * solution.y1.square().sum()).backward()
        counts.append(solution.stats.nfe_backward)
    assert counts[1] < counts[0]


@quiet
def test_an_interpolated_path_works_where_the_state_cannot_be_solved_backward() -> None:
    def solve(gradient):
        y0, w = drawn(4, 3), torch.full((3,), 10.0, dtype=DOUBLE, requires_grad=True)
        f = lambda t, y, w: w * (torch.cos(t) - y**3)  # backward it blows up in finite time
        y1 = odesolve(f, y0, 0, 3, args=(w,), rtol=1e-6, atol=1e-8, gradient=gradient).y1
        return torch.autograd.grad(y1.square().sum(), w)

    assert worst(solve(Backsolve(path="interpolated")), solve("direct")) < 1e-3
    with pytest.raises(SolveError):
        solve(Backsolve(path="resolved"))


@quiet
def test_tolerances_of_its_own_decide_the_error_of_the_way_back() -> None:
    loose = {"solver": "tsit5", "rtol": 1e-9, "atol": 1e-10}
    exact = gradients_of_all("direct", **loose)
    errors = [
        worst(gradients_of_all(Backsolve(rtol=rtol, atol=0.1 * rtol), **loose), exact)
        for rtol in (1e-3, 1e-5, 1e-7)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


@quiet
@each_path
@pytest.mark.parametrize("shape", [(), (4, 1)], ids=str)
def test_tolerances_may_be_tensors(path, shape) -> None:
    exact = gradients_of_all("direct", solver="tsit5", rtol=1e-11, atol=1e-12)
    tight = torch.full(shape, 1e-7, dtype=DOUBLE)
    options = {"solver": "tsit5", "rtol": tight, "atol": 0.1 * tight}
    assert worst(gradients_of_all(Backsolve(path=path), **options), exact) < 1e-4


@quiet
@each_path
def test_backsolve_goes_backward_in_time_and_over_jumps(path) -> None:
    results = []
    for gradient in ("direct", Backsolve(path=path)):
        y0, w = drawn(3), drawn(3, seed=1)
        f = lambda t, y, w: torch.where(t < 0.5, -w * y, w * torch.cos(y))
        controller = PIDController(rtol=1e-7, atol=1e-8, jump_points=(0.5,))
        y1 = odesolve(f, y0, 1, 0, args=(w,), controller=controller, gradient=gradient).y1
        results.append(torch.autograd.grad(y1.square().sum(), (y0, w)))
    assert worst(*reversed(results)) < 1e-4


@quiet
@each_path
def test_backsolve_takes_the_steps_of_an_uneven_grid(path) -> None:
    exact = gradients_of_all("direct", solver="tsit5", rtol=1e-11, atol=1e-12)
    grid = GridController(times=[0.2 + 0.9 * (i / 40) ** 2 for i in range(1, 40)])
    assert (
        worst(gradients_of_all(Backsolve(path=path), solver="rk4", controller=grid), exact) < 1e-4
    )


@quiet
def test_what_is_held_grows_with_the_interpolant_alone() -> None:
    held = {}
    for path in ("resolved", "interpolated"):
        for num_steps in (5, 50):
            y0 = drawn(4, 3)
            options = {"num_steps": num_steps, "gradient": Backsolve(path=path)}
            held[path, num_steps] = odesolve(sine, y0, 0, 1, **options).stats.bytes_held / y0.nbytes
    assert held["resolved", 5] == held["resolved", 50] == 1
    assert 5 <= held["interpolated", 5] <= 6 and 50 <= held["interpolated", 50] <= 51


def test_backsolve_warns_where_a_gradient_may_be_asked_for() -> None:
    with pytest.warns(ConvergentGradientWarning, match="Try gradient='checkpointed'"):
        odesolve(sine, drawn(3), 0, 1, gradient="backsolve")


def test_backsolve_does_not_warn_under_no_grad() -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        odesolve(sine, drawn(3), 0, 1, gradient="backsolve")


@pytest.mark.parametrize(
    "options, match",
    [
        ({"dense": True}, "`dense` must be False with gradient='backsolve'"),
        ({"event": Event(lambda t, y: y.sum())}, "`event` must be left out with gradient='backso"),
        ({"solver": "gauss-legendre4", "num_steps": 3}, "`solver` must be an explicit method with"),
        ({"solver": "kencarp4"}, "`solver` must be an explicit method with gradient='backsolve'"),
    ],
)
def test_what_backsolve_does_not_know_is_refused(options, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        odesolve(sine, drawn(3), 0, 1, gradient="backsolve", **options)
