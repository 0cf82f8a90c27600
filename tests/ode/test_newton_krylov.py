"""GMRES solves many systems at once; Jacobians see through what vector fields are made of."""

import math

import pytest
import torch
from problems import DOUBLE
from torch import Tensor

from odevision.ode.jacobian import DIFFERENCES, Jacobian, jacobian_blocks
from odevision.ode.newton_krylov import NewtonSettings, gmres, newton
from odevision.ode.stage_system import StageSystem

SETTINGS = NewtonSettings(
    rtol=1e-10, atol=0.0, max_steps=20, krylov_size=20, max_krylov_cycles=20, dense_size=64
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


class Counted:
    """A batch of matrices as a product, which counts its calls."""

    def __init__(self, matrices: Tensor) -> None:
        self.matrices, self.calls = matrices, 0

    def __call__(self, rows: Tensor) -> Tensor:
        self.calls += 1
        return (self.matrices @ rows[:, :, None])[..., 0]


def test_gmres_solves_each_row_s_own_system() -> None:
    matrices, b = drawn(5, 8, 8) + 4 * torch.eye(8, dtype=DOUBLE), drawn(5, 8, seed=1)
    x, done = gmres(Counted(matrices), b, rtol=1e-12, krylov_size=8, max_cycles=1)
    assert done
    torch.testing.assert_close(x, torch.linalg.solve(matrices, b))


def test_gmres_takes_no_more_products_for_many_systems_than_for_one() -> None:
    """512 stiff systems of two entries, with 1,024 eigenvalues in all."""
    rates = 10 ** (4 * torch.rand(512, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)))
    basis = drawn(512, 2, 2)
    matrices = basis @ torch.diag_embed(1 + rates) @ torch.linalg.inv(basis)
    product = Counted(matrices)
    x, done = gmres(product, drawn(512, 2, seed=1), rtol=1e-6, krylov_size=40, max_cycles=1)
    assert done and product.calls == 2


def test_gmres_goes_on_after_a_restart() -> None:
    matrices, b = drawn(1, 30, 30) + 9 * torch.eye(30, dtype=DOUBLE), drawn(1, 30, seed=1)
    x, done = gmres(Counted(matrices), b, rtol=1e-11, krylov_size=6, max_cycles=30)
    assert done
    torch.testing.assert_close(x, torch.linalg.solve(matrices, b))


def test_gmres_says_that_it_ran_out_of_cycles() -> None:
    matrices = drawn(1, 30, 30)
    _, done = gmres(Counted(matrices), drawn(1, 30, seed=1), rtol=1e-6, krylov_size=3, max_cycles=2)
    assert not done


def test_gmres_leaves_rows_that_are_done_alone() -> None:
    """A right-hand side of 0, the identity and a full matrix, side by side."""
    full = drawn(6, 6) + 4 * torch.eye(6, dtype=DOUBLE)
    one = torch.eye(6, dtype=DOUBLE)
    matrices, b = torch.stack([full, one, full]), drawn(3, 6, seed=1)
    b[0] = 0
    x, done = gmres(Counted(matrices), b, rtol=1e-12, krylov_size=6, max_cycles=1)
    assert done and bool((x[0] == 0).all())
    torch.testing.assert_close(x, torch.linalg.solve(matrices, b))


def test_gmres_stops_at_a_value_that_is_not_finite() -> None:
    product = Counted(torch.full((1, 9, 9), math.nan, dtype=DOUBLE))
    _, done = gmres(product, drawn(1, 9), rtol=1e-6, krylov_size=9, max_cycles=1)
    assert not done and product.calls == 1


def test_gmres_keeps_its_sums_in_single_precision_under_autocast() -> None:
    matrices = (drawn(2, 8, 8) + 4 * torch.eye(8, dtype=DOUBLE)).float()
    b = drawn(2, 8, seed=1).float()
    dtypes = []

    def product(rows: Tensor) -> Tensor:
        dtypes.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return (matrices[:, :, :] * rows[:, None, :]).sum(-1)

    with torch.autocast("cpu", torch.bfloat16):
        x, done = gmres(product, b, rtol=1e-5, krylov_size=8, max_cycles=2)
    assert done and set(dtypes) == {torch.bfloat16}
    torch.testing.assert_close(x, torch.linalg.solve(matrices, b), rtol=1e-4, atol=1e-4)


class NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g


class NoDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.detach() ** 3

    @staticmethod
    def backward(ctx, g):
        raise RuntimeError("no derivative")


def energy_force(t, y):
    with torch.enable_grad():
        y = y if y.requires_grad else y.requires_grad_()
        return torch.autograd.grad((y**4).sum() / 4, y, create_graph=True)[0]


def in_place(t, y):
    k = torch.empty_like(y)
    k[:] = y
    return k.mul_(y).mul_(y)


@pytest.mark.parametrize(
    "cube, way",
    [
        (lambda t, y: y**3, 0),
        (torch.no_grad()(lambda t, y: y**3), 0),
        (in_place, 0),
        (energy_force, 0),
        (lambda t, y: NoForwardMode.apply(y), 1),
        (lambda t, y: torch.func.jvp(lambda z: z**4 / 4, (y,), (torch.ones_like(y),))[1], 1),
        (lambda t, y: NoDerivative.apply(y), 2),
    ],
    ids=["plain", "no_grad", "in place", "energy", "function", "own forward mode", "black box"],
)
def test_a_product_finds_a_way_that_the_field_supports(cube, way: int) -> None:
    y, v = drawn(4), drawn(4, seed=1)
    jacobian = Jacobian(cube)
    with torch.no_grad():
        product = jacobian.at(0.0, y)(v)
    assert jacobian.way == way
    torch.testing.assert_close(product, 3 * y**2 * v, rtol=1e-6, atol=1e-6)


def test_a_product_passes_the_field_s_own_exception_on() -> None:
    def f(t, y):
        raise RuntimeError("the tank is empty")

    with pytest.raises(RuntimeError, match="the tank is empty"):
        Jacobian(f).at(0.0, drawn(3))(drawn(3))


def test_differences_suit_states_of_any_size() -> None:
    for size in (1e-8, 1.0, 1e8):
        y, v = size * drawn(5), drawn(5, seed=1)
        product = Jacobian(lambda t, y: y * y, DIFFERENCES).at(0.0, y)(v)
        torch.testing.assert_close(product, 2 * y * v, rtol=1e-6, atol=1e-7 * size)


@pytest.mark.parametrize("entries", [3, 9], ids=["row by row", "batched"])
def test_blocks_are_each_sample_s_jacobian(entries: int) -> None:
    weight, y = drawn(entries, entries), drawn(4, entries, seed=1).requires_grad_()
    f = lambda y: torch.tanh(y @ weight) * y
    blocks = jacobian_blocks(f(y), y, 4)
    expected = torch.stack([torch.func.jacrev(f)(row) for row in y.detach()])
    torch.testing.assert_close(blocks, expected)


def test_blocks_of_an_operation_without_a_batched_backward_pass_are_right() -> None:
    y = drawn(1, 9).requires_grad_()
    blocks = jacobian_blocks(NoForwardMode.apply(y), y, 1)
    torch.testing.assert_close(blocks[0], torch.diag(3 * y[0].detach() ** 2))


def stage(f, y: Tensor, dt: float, num_samples: int = 1) -> StageSystem:
    return StageSystem(f, (dt,), ((dt,),), y, num_samples)


@pytest.mark.parametrize("matrix_free", [False, True])
def test_newton_finds_the_root_of_an_implicit_euler_step(matrix_free: bool) -> None:
    f, y, dt = lambda t, y: -1e4 * (y**3 + y - torch.cos(y)), drawn(6), 0.1
    jacobian = Jacobian(f) if matrix_free else None
    with torch.no_grad():
        found = newton(
            stage(f, y, dt), torch.zeros(1, 6, dtype=DOUBLE), y.abs(), dt, SETTINGS, jacobian
        )
    assert found.converged
    y1 = y + dt * found.k[0]
    torch.testing.assert_close(y1, y + dt * f(dt, y1), rtol=0, atol=1e-8)


@pytest.mark.parametrize("matrix_free", [False, True])
def test_newton_solves_a_linear_system_with_two_evaluations_and_the_products(matrix_free) -> None:
    counts = {"plain": 0, "dual": 0}

    def f(t: float, y: Tensor) -> Tensor:
        dual = torch.autograd.forward_ad.unpack_dual(y).tangent is not None
        counts["dual" if dual else "plain"] += 1
        return -3 * y

    y, dt = drawn(6), 0.1
    jacobian = Jacobian(f) if matrix_free else None
    with torch.no_grad():
        found = newton(
            stage(f, y, dt), torch.zeros(1, 6, dtype=DOUBLE), y.abs(), dt, SETTINGS, jacobian
        )
    assert found.converged and counts == {"plain": 2, "dual": int(matrix_free)}


@pytest.mark.parametrize("matrix_free", [False, True])
@pytest.mark.parametrize("f", [lambda t, y: y / 0 * 0, lambda t, y: 1e3 * (1 + y * y)])
def test_newton_admits_that_there_is_no_root(f, matrix_free: bool) -> None:
    y = torch.ones(2, dtype=DOUBLE)
    jacobian = Jacobian(f) if matrix_free else None
    with torch.no_grad():
        found = newton(
            stage(f, y, 1.0), torch.zeros(1, 2, dtype=DOUBLE), y, 1.0, SETTINGS, jacobian
        )
    assert not found.converged
