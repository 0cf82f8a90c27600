"""Implicit solvers have the order, the stability and the gradients that they claim."""

import dataclasses
import math

import pytest
import torch
from problems import DOUBLE, PROBLEMS, Problem, error, in_tolerance_units
from rooted_trees import defect, trees
from torch import Tensor

from odevision import SolveError, odesolve
from odevision.ode.implicit import IMPLICIT_METHODS, ImplicitRungeKutta
from odevision.ode.implicit_tableau import ImplicitTableau
from odevision.ode.solution import Result, Stats
from odevision.ode.solver import Memory
from odevision.ode.term import ODETerm

SOLVERS = list(IMPLICIT_METHODS.values())
ADAPTIVE = [solver for solver in SOLVERS if solver.adaptive]
STEPS = {"implicit-euler": 128, "gauss-legendre6": 8, "radau-iia3": 32}

each_solver = pytest.mark.parametrize("solver", SOLVERS, ids=list(IMPLICIT_METHODS))
each_pair = pytest.mark.parametrize("solver", ADAPTIVE, ids=[s.name for s in ADAPTIVE])
each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=[p.name for p in PROBLEMS])
each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
both_linear_solvers = pytest.mark.parametrize("dense_size", [256, 0], ids=["dense", "matrix-free"])


def worst_defect(tableau: ImplicitTableau, b: tuple, num_nodes: int) -> float:
    return max(defect(tree, tableau.a, b) for tree in trees(num_nodes))


@each_solver
def test_solution_weights_meet_the_conditions_of_their_order_and_not_of_the_next(solver) -> None:
    tableau = solver.tableau
    for num_nodes in range(1, tableau.order + 1):
        assert worst_defect(tableau, tableau.b, num_nodes) < 1e-13
    assert worst_defect(tableau, tableau.b, tableau.order + 1) > 1e-6


@each_pair
def test_embedded_weights_meet_the_conditions_of_their_order_and_not_of_the_next(solver) -> None:
    tableau = solver.tableau
    for num_nodes in range(1, tableau.embedded_order + 1):
        assert worst_defect(tableau, tableau.b_embedded, num_nodes) < 1e-13
    assert worst_defect(tableau, tableau.b_embedded, tableau.embedded_order + 1) > 1e-6


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@each_problem
@each_solver
def test_the_global_error_falls_with_the_order(solver, problem: Problem, backward: bool) -> None:
    t0, t1 = (problem.t1, problem.t0) if backward else (problem.t0, problem.t1)
    solver = dataclasses.replace(solver, newton_rtol=1e-13)
    num_steps = STEPS.get(solver.name, 16)
    errors = []
    for n in (num_steps, 2 * num_steps):
        solution = odesolve(
            problem.vector_field, problem.exact(t0), t0, t1, solver=solver, num_steps=n
        )
        errors.append(error(solution.y1, problem.exact(t1)))
    assert -0.1 < math.log2(errors[0] / errors[1]) - solver.order < 0.6


@each_pair
@each_problem
def test_the_error_estimate_falls_with_the_embedded_order(solver, problem: Problem) -> None:
    term, t = ODETerm(problem.vector_field, Stats()), problem.t0 + 0.2
    errors = []
    for dt in (0.02, 0.01):
        step = solver.step(term, t, t + dt, problem.exact(t), None, Memory(), all_stages=True)
        errors.append(float(solver.error(step).abs().max()))
    assert -0.1 < math.log2(errors[0] / errors[1]) - (solver.embedded_order + 1) < 0.6


DAMPING = {  # |R(-1e5)|, the growth of y in a step of 0.1 under y' = -1e6 y
    "implicit-euler": 0.0,
    "implicit-midpoint": 1.0,
    "trapezoid": 1.0,
    "sdirk2": 0.0,
    "trbdf2": 0.0,
    "radau-iia3": 0.0,
    "radau-iia5": 0.0,
    "gauss-legendre4": 1.0,
    "gauss-legendre6": 1.0,
    "kencarp4": 0.0,
}


@each_solver
@both_linear_solvers
def test_a_stiff_decay_is_damped_or_kept_as_the_method_s_stability_says(
    solver, dense_size: int
) -> None:
    solver = dataclasses.replace(solver, dense_size=dense_size)
    y0 = torch.ones(3, 2, dtype=DOUBLE)
    y1 = odesolve(lambda t, y: -1e6 * y, y0, 0, 0.1, solver=solver, num_steps=1).y1
    growth = y1.abs()
    torch.testing.assert_close(growth, torch.full_like(y1, DAMPING[solver.name]), rtol=0, atol=1e-3)
    assert float(growth.max()) <= 1


@each_solver
def test_a_stiff_forcing_is_followed_in_long_steps(solver) -> None:
    """The problem of Prothero and Robinson: y = cos(t), in steps of 1e5 time constants."""
    f = lambda t, y: -1e6 * (y - torch.cos(t)) - torch.sin(t)
    y0 = torch.ones(2, dtype=DOUBLE)
    y1 = odesolve(f, y0, 0, 1, solver=solver, num_steps=10).y1
    tolerance = 0.02 if solver.name in ("implicit-midpoint", "gauss-legendre4") else 1e-3
    assert error(y1, torch.full_like(y0, math.cos(1))) < tolerance


@pytest.mark.parametrize("name", ["implicit-midpoint", "gauss-legendre4", "gauss-legendre6"])
def test_gauss_methods_keep_quadratic_invariants(name: str) -> None:
    """The angular momentum of a rigid body, whose solution is no rotation in itself."""
    inertia = torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE)
    y0 = torch.tensor([1.0, 0.3, -0.5], dtype=DOUBLE)
    f = lambda t, y: torch.linalg.cross(y, y / inertia)
    y1 = odesolve(f, y0, 0, 20, solver=IMPLICIT_METHODS[name], num_steps=40).y1
    assert error(y1, y0) > 0.1
    torch.testing.assert_close(y1.square().sum(), y0.square().sum(), rtol=1e-9, atol=0)


def van_der_pol(t: Tensor, y: Tensor) -> Tensor:
    x, v = y.unbind(-1)
    return torch.stack([v, 1000 * (1 - x * x) * v - x], -1)


def robertson(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    slow, fast = -0.04 * a + 1e4 * b * c, 3e7 * b * b
    return torch.stack([slow, -slow - fast, fast], -1)


# SciPy 1.17's Radau at rtol 1e-13 with analytic Jacobians; at 1e-11 all digits but the last agree.
VAN_DER_POL_AT_1000 = [-1.863646254808145, 0.00075354308654354]
ROBERTSON_AT_1E4 = [0.107300428537805, 4.80016697257173e-07, 0.892699091445492]


def test_kencarp4_solves_van_der_pol_s_oscillator_at_mu_1000() -> None:
    """Past the jump at 807, where the time scale falls from hundreds to thousandths."""
    y0 = torch.tensor([2.0, 0.0], dtype=DOUBLE)
    solver = IMPLICIT_METHODS["kencarp4"]
    solution = odesolve(van_der_pol, y0, 0, 1000, solver=solver, rtol=1e-6, atol=1e-6)
    expected = torch.tensor(VAN_DER_POL_AT_1000, dtype=DOUBLE)
    assert in_tolerance_units(solution.y1, expected, 1e-6, 1e-6) < 20
    assert solution.stats.num_steps < 400 and solution.stats.nfe_forward < 8000


@pytest.mark.parametrize("name, units", [("kencarp4", 10), ("trbdf2", 100)])
def test_robertson_s_reaction_is_solved(name: str, units: float) -> None:
    y0 = torch.tensor([1.0, 0.0, 0.0], dtype=DOUBLE)
    solver = IMPLICIT_METHODS[name]
    solution = odesolve(robertson, y0, 0, 1e4, solver=solver, rtol=1e-6, atol=1e-10)
    expected = torch.tensor(ROBERTSON_AT_1E4, dtype=DOUBLE)
    assert in_tolerance_units(solution.y1, expected, 1e-6, 1e-10) < units
    assert solution.stats.num_steps < 500


def laplacian(u: Tensor) -> Tensor:
    """Of a field on the unit square that is 0 at its rim."""
    wide = torch.nn.functional.pad(u, (1, 1, 1, 1))
    around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    return (around - 4 * u) * (u.shape[0] + 1) ** 2


@pytest.mark.parametrize("flat", [False, True], ids=["square", "flat"])
@pytest.mark.parametrize("name, tolerance", [("implicit-euler", 3e-3), ("trbdf2", 1e-5)])
def test_heat_spreads_over_1e5_entries_without_a_matrix(name, tolerance, flat: bool) -> None:
    """Explicit steps would have to be 400 times shorter. A matrix would hold 80 GB."""
    n = 316
    x = torch.arange(1, n + 1, dtype=DOUBLE) / (n + 1)
    u0 = torch.sin(math.pi * x)[:, None] * torch.sin(2 * math.pi * x)
    y0, f = (u0.reshape(-1) if flat else u0), lambda t, y: laplacian(y.view(n, n)).view(y.shape)
    solution = odesolve(f, y0, 0, 2e-3, solver=IMPLICIT_METHODS[name], num_steps=2)
    rate = sum(math.sin(k * math.pi / (2 * (n + 1))) ** 2 for k in (1, 2)) * -4 * (n + 1) ** 2
    assert error(solution.y1, y0 * math.exp(2e-3 * rate)) < tolerance
    assert solution.stats.nfe_forward < 100


def stiff_oscillators(rates: Tensor):
    """Van der Pol oscillators, one a row."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        x, v = y.unbind(-1)
        return torch.stack([v, rates * (1 - x * x) * v - x], -1)

    return f


@both_linear_solvers
def test_a_batch_of_stiff_samples_is_solved_with_products_for_all_at_once(
    dense_size: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    rates = 10 ** (3 * torch.rand(64, dtype=DOUBLE, generator=generator))
    y0 = torch.stack([2 + torch.rand(64, dtype=DOUBLE, generator=generator), 0 * rates], -1)
    solver = dataclasses.replace(IMPLICIT_METHODS["kencarp4"], dense_size=dense_size)
    solve = lambda f, y: odesolve(f, y, 0, 2, solver=solver, num_steps=20)
    batch = solve(stiff_oscillators(rates), y0)
    worst = rates.argmax()
    alone = solve(stiff_oscillators(rates[worst]), y0[worst])
    torch.testing.assert_close(batch.y1[worst], alone.y1, rtol=1e-7, atol=1e-9)
    assert batch.stats.nfe_forward < 2.5 * alone.stats.nfe_forward


def shifted(y: Tensor) -> Tensor:
    """Sample 0 sees sample 1, and not the other way round: a probe may miss it."""
    return torch.cat([y[1:], y[:1] * 0])


def mean_field(y: Tensor) -> Tensor:
    return y.mean(0, keepdim=True).expand_as(y)


@pytest.mark.parametrize("mix", [shifted, mean_field])
@both_linear_solvers
def test_samples_may_influence_one_another(mix, dense_size: int) -> None:
    solver = dataclasses.replace(IMPLICIT_METHODS["radau-iia5"], dense_size=dense_size)
    y0 = torch.tensor([[1.0, 0.5], [0.3, -1.0]], dtype=DOUBLE)
    f = lambda t, y: -200 * (y - mix(torch.cos(y)))
    flat = lambda t, y: f(t, y.view(2, 2)).view(-1)
    y1 = odesolve(f, y0, 0, 1, solver=solver, num_steps=10).y1
    expected = odesolve(flat, y0.view(-1), 0, 1, solver=solver, num_steps=10).y1
    torch.testing.assert_close(y1.view(-1), expected, rtol=1e-8, atol=1e-9)


def coupled_case() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, dtype=DOUBLE, generator=generator)
    return draw(2, 3), draw(3, 3)


def assert_gradients_are_those_of_central_differences(solver, mix, gradient: str) -> None:
    """Along one direction in y0 and in a weight that f closes over, through a whole solve."""
    solver = dataclasses.replace(solver, newton_rtol=1e-13)
    generator = torch.Generator().manual_seed(1)
    y0, w = coupled_case()
    dy, dw = (torch.randn(x.shape, dtype=DOUBLE, generator=generator) for x in (y0, w))

    def loss(y0: Tensor, w: Tensor) -> Tensor:
        f = lambda t, y: torch.tanh(y @ w) * (1 + t) - 5 * y + (mix(y * y) if mix else 0)
        solution = odesolve(f, y0, 0.0, 0.5, solver=solver, num_steps=2, gradient=gradient)
        return solution.y1.pow(3).sum()

    leaves = y0.clone().requires_grad_(), w.clone().requires_grad_()
    pulled = torch.autograd.grad(loss(*leaves), leaves)
    exact = sum(float((g * d).sum()) for g, d in zip(pulled, (dy, dw), strict=True))
    h = 1e-4
    with torch.no_grad():
        differences = loss(y0 + h * dy, w + h * dw) - loss(y0 - h * dy, w - h * dw)
    assert exact == pytest.approx(float(differences) / (2 * h), rel=1e-6)


@each_gradient
@each_solver
def test_gradients_are_those_of_central_differences(solver, gradient) -> None:
    assert_gradients_are_those_of_central_differences(solver, None, gradient)


@each_gradient
@pytest.mark.parametrize("mix", [None, shifted], ids=["independent", "coupled"])
@pytest.mark.parametrize("name", ["trapezoid", "gauss-legendre4", "kencarp4"])
def test_matrix_free_gradients_are_those_of_central_differences(name, mix, gradient) -> None:
    solver = dataclasses.replace(IMPLICIT_METHODS[name], dense_size=0)
    assert_gradients_are_those_of_central_differences(solver, mix, gradient)


@pytest.mark.parametrize("mix", [shifted, mean_field])
def test_gradients_through_coupled_samples_are_those_of_central_differences(mix) -> None:
    assert_gradients_are_those_of_central_differences(IMPLICIT_METHODS["sdirk2"], mix, "direct")


@each_pair
def test_checkpointed_equals_direct_in_adaptive_steps_and_saved_states(solver) -> None:
    results = []
    for gradient in ("direct", "checkpointed"):
        y0, w = (x.requires_grad_() for x in coupled_case())
        f = lambda t, y, w=w: torch.tanh(y @ w) * (1 + t) - 20 * y
        ys = odesolve(f, y0, 0.0, 1.0, solver=solver, gradient=gradient, save_at=[0.1, 0.5, 1.0]).ys
        results.append(torch.autograd.grad(ys.pow(3).sum(), (y0, w)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


def test_gradients_reach_a_large_state_without_a_matrix() -> None:
    n = 100
    u0 = torch.rand(n, n, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    u0, speed = u0.requires_grad_(), torch.tensor(1.0, dtype=DOUBLE, requires_grad=True)
    solver = IMPLICIT_METHODS["trbdf2"]
    y1 = odesolve(lambda t, u: speed * laplacian(u), u0, 0, 1e-3, solver=solver, num_steps=1).y1
    lam, by_speed = torch.autograd.grad(y1.square().sum() / 2, (u0, speed))
    # The equation is linear and its operator symmetric: lam = R y1, the same step again.
    with torch.no_grad():
        again = odesolve(lambda t, u: laplacian(u), y1, 0, 1e-3, solver=solver, num_steps=1).y1
    torch.testing.assert_close(lam, again, rtol=1e-7, atol=1e-9)
    assert float(by_speed) < 0  # the faster heat spreads, the less is left


@each_gradient
def test_differentiating_a_gradient_again_is_refused(gradient: str) -> None:
    y0 = torch.ones(3, dtype=DOUBLE, requires_grad=True)
    solver = IMPLICIT_METHODS["sdirk2"]
    y1 = odesolve(lambda t, y: -y * y, y0, 0, 1, solver=solver, num_steps=2, gradient=gradient).y1
    with pytest.raises(ValueError, match="differentiated again"):
        torch.autograd.grad(y1.sum(), y0, create_graph=True)


def test_complex_fields_need_not_be_holomorphic() -> None:
    """z' = -(0.1 + 0.3i) conj(z) |z| couples the two parts otherwise than a complex number does."""
    f = lambda t, z: -(0.1 + 0.3j) * z.conj() * z.abs()
    parts = lambda t, y: torch.view_as_real(f(t, torch.view_as_complex(y)))
    z0 = torch.tensor([1 + 1j, 0.5 - 2j], dtype=torch.complex128)
    solver = IMPLICIT_METHODS["gauss-legendre4"]
    z1 = odesolve(f, z0, 0, 1, solver=solver, num_steps=5).y1
    expected = odesolve(parts, torch.view_as_real(z0), 0, 1, solver=solver, num_steps=5).y1
    torch.testing.assert_close(torch.view_as_real(z1), expected, rtol=1e-9, atol=1e-10)


@both_linear_solvers
def test_complex_gradients_equal_those_of_the_real_parts(dense_size: int) -> None:
    solver = dataclasses.replace(IMPLICIT_METHODS["kencarp4"], dense_size=dense_size)
    f = lambda t, z: -(1 + 3j) * z * z.abs()
    z0 = torch.tensor([1 + 1j, 0.5 - 2j], dtype=torch.complex128, requires_grad=True)
    y0 = torch.view_as_real(z0.detach()).clone().requires_grad_()
    ours = odesolve(f, z0, 0, 1, solver=solver, num_steps=3).y1.abs().pow(3).sum()
    parts = lambda t, y: torch.view_as_real(f(t, torch.view_as_complex(y)))
    y1 = odesolve(parts, y0, 0, 1, solver=solver, num_steps=3).y1
    theirs = torch.linalg.vector_norm(y1, dim=-1).pow(3).sum()
    lam = torch.autograd.grad(ours, z0)[0]
    expected = torch.autograd.grad(theirs, y0)[0]
    torch.testing.assert_close(torch.view_as_real(lam), expected, rtol=1e-8, atol=1e-10)


def half_without_a_graph(t: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        fast = -500 * (y - torch.cos(y))
    return fast - y


def without_a_backward_pass(t: Tensor, y: Tensor) -> Tensor:
    return _Stiff.apply(y)


class _Stiff(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return -500 * (y - torch.cos(y)) - y

    @staticmethod
    def backward(ctx, g):
        raise RuntimeError("this function has no derivative")


def with_a_hidden_tangent(t: Tensor, y: Tensor) -> Tensor:
    """Differentiable backward only, and only where y requires a gradient."""
    with torch.enable_grad():
        y = y if y.requires_grad else y.detach().requires_grad_()
        energy = (250 * y * y - 500 * torch.sin(y) + y * y / 2).sum()
        return -torch.autograd.grad(energy, y, create_graph=True)[0]


@both_linear_solvers
@pytest.mark.parametrize(
    "f",
    [
        torch.no_grad()(lambda t, y: -500 * (y - torch.cos(y)) - y),
        half_without_a_graph,
        without_a_backward_pass,
        with_a_hidden_tangent,
    ],
    ids=["no_grad", "half no_grad", "no derivative", "energy"],
)
def test_stiff_fields_that_hide_their_derivative_are_solved_all_the_same(f, dense_size) -> None:
    solver = dataclasses.replace(IMPLICIT_METHODS["trbdf2"], dense_size=dense_size)
    plain = lambda t, y: -500 * (y - torch.cos(y)) - y
    y0 = torch.tensor([[0.7, 0.8], [0.74, 0.6]], dtype=DOUBLE)
    with torch.no_grad():
        expected = odesolve(plain, y0, 0, 1, solver=solver, num_steps=4).y1
        y1 = odesolve(f, y0, 0, 1, solver=solver, num_steps=4).y1
    torch.testing.assert_close(y1, expected, rtol=1e-8, atol=1e-9)


@both_linear_solvers
def test_inference_mode_changes_nothing(dense_size: int) -> None:
    solver = dataclasses.replace(IMPLICIT_METHODS["kencarp4"], dense_size=dense_size)
    y0, w = coupled_case()
    f = lambda t, y: torch.tanh(y @ w) - 20 * y
    expected = odesolve(f, y0, 0, 1, solver=solver).y1
    with torch.inference_mode():
        weight = w * 1  # an inference tensor, which no graph may hold
        y1 = odesolve(lambda t, y: torch.tanh(y @ weight) - 20 * y, y0 * 1, 0, 1, solver=solver).y1
    torch.testing.assert_close(y1, expected, rtol=1e-8, atol=1e-10)


@both_linear_solvers
def test_single_precision_and_autocast_find_their_stages(dense_size: int) -> None:
    solver = dataclasses.replace(IMPLICIT_METHODS["radau-iia3"], dense_size=dense_size)
    y0, w = (x.float() for x in coupled_case())
    f = lambda t, y: torch.tanh(y @ w) - 20 * y
    plain = odesolve(f, y0, 0, 1, solver=solver, num_steps=10).y1
    with torch.autocast("cpu", torch.bfloat16):
        lower = odesolve(f, y0, 0, 1, solver=solver, num_steps=10).y1
    assert lower.dtype == torch.float32
    torch.testing.assert_close(lower, plain, rtol=0, atol=1e-2)


def test_half_precision_is_refused_with_a_remedy() -> None:
    y0 = torch.ones(2, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"single or double precision.*y0\.float\(\)"):
        odesolve(lambda t, y: -y, y0, 0, 1, solver=IMPLICIT_METHODS["trbdf2"], num_steps=2)


def test_fixed_steps_without_a_root_fail_and_say_so() -> None:
    y0 = torch.ones(2, dtype=DOUBLE)
    f = lambda t, y: 1e3 * (1 + y * y)
    with pytest.raises(SolveError) as caught:
        odesolve(f, y0, 0, 1, solver=IMPLICIT_METHODS["implicit-euler"], num_steps=2)
    assert caught.value.result is Result.NOT_CONVERGED


def test_adaptive_steps_shrink_until_newton_converges() -> None:
    """y' = y^2 from 1: a step of 0.9 in time 1 to the pole has no real stages."""
    f, y0 = lambda t, y: y * y, torch.ones(1, dtype=DOUBLE)
    solver = IMPLICIT_METHODS["kencarp4"]
    term = ODETerm(f, Stats())
    assert not solver.step(term, 0.0, 0.9, y0, None, Memory(), all_stages=True).converged
    y1 = odesolve(f, y0, 0, 0.9, solver=solver, rtol=1e-6, atol=1e-6, gradient="direct").y1
    assert error(y1, torch.tensor([10.0], dtype=DOUBLE)) < 1e-2


@both_linear_solvers
def test_every_evaluation_counts(dense_size: int) -> None:
    calls = 0

    def f(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return -5 * y * y

    solver = dataclasses.replace(IMPLICIT_METHODS["kencarp4"], dense_size=dense_size)
    y0 = torch.ones(3, 2, dtype=DOUBLE, requires_grad=True)
    solution = odesolve(f, y0, 0, 1, solver=solver, num_steps=4)
    assert solution.stats.nfe_forward == calls
    solution.y1.sum().backward()
    assert solution.stats.nfe_forward + solution.stats.nfe_backward == calls


@pytest.mark.parametrize(
    "change, message",
    [
        ({"newton_rtol": 0.0}, "newton_rtol"),
        ({"newton_atol": -1.0}, "newton_atol"),
        ({"max_newton_steps": 0}, "max_newton_steps"),
        ({"krylov_size": 0}, "krylov_size"),
    ],
)
def test_settings_that_find_no_stage_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImplicitRungeKutta(IMPLICIT_METHODS["trbdf2"].tableau, **change)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"b": (0.5, 0.5)}, "3 times and rows of|must have 2 times"),
        ({"b": (0.5, 0.25, 0.5)}, "b must sum to 1"),
        ({"c": (0, 0.5, 1)}, "a row of a must sum to"),
        ({"embedded_order": None}, "together"),
        ({"b_embedded": (1,)}, "b_embedded must have 3 weights"),
        ({"b_embedded": (1, 1, 1)}, "b_embedded must sum to 1"),
    ],
)
def test_a_tableau_refuses_coefficients_that_contradict_one_another(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(IMPLICIT_METHODS["trbdf2"].tableau, **change)
