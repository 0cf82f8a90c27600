"""GMRES on many independent linear systems at once, and Newton's iteration for stages."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from odevision.ode.jacobian import Jacobian
from odevision.ode.stage_system import Rows, Slopes, StageSystem


def gmres(
    product: Callable[[Rows], Rows],
    b: Rows,
    *,
    rtol: float,
    krylov_size: int,
    max_cycles: int,
) -> tuple[Rows, bool]:
    """Solve A x = b by restarted GMRES, row by row, with products of all rows at a time.

    Every row has its own Krylov space, so that a batch of independent systems converges as fast as
    its slowest member: a system of n entries in n products, whatever the number of systems. The
    residual is looked at on the host after 1, 2, 3, 4, 5, 6, 8, 10, 13, ... products of a cycle.
    See Saad: Iterative Methods for Sparse Linear Systems, section 6.5.

    Args:
        product: x -> A x, which must not mix the rows.
        b: right-hand sides, shape (systems, entries).
        rtol: wanted 2-norm of a row's residual, relative to that of b.
        krylov_size: products a cycle, after which memory is freed and the search starts anew; it
            holds that many vectors of b's size.
        max_cycles: cycles before it gives up.

    Returns:
        The best x found, and whether it is as accurate as asked.
    """
    device = b.device.type
    if torch.is_autocast_enabled(device):  # for the vector field, not for the sums here
        lower = torch.autocast(device, torch.get_autocast_dtype(device))
        with torch.autocast(device, enabled=False):
            return gmres(
                lower(product), b, rtol=rtol, krylov_size=krylov_size, max_cycles=max_cycles
            )
    x, residual = torch.zeros_like(b), b
    wanted = rtol * torch.linalg.vector_norm(b, dim=1)
    for cycle in range(max_cycles):
        if cycle:
            residual = b - product(x)
        dx, done = _cycle(product, residual, wanted, min(krylov_size, b.shape[1]))
        x = x + dx
        if done:
            return x, True
    return x, False


def _cycle(
    product: Callable[[Rows], Rows], residual: Rows, wanted: Tensor, size: int
) -> tuple[Rows, bool]:
    """Reduce the residual over the Krylov space that it starts, of at most `size` dimensions."""
    num_systems, entries = residual.shape
    norm = torch.linalg.vector_norm(residual, dim=1)
    basis = residual.new_zeros(size + 1, num_systems, entries)
    hessenberg = residual.new_zeros(num_systems, size + 1, size)
    basis[0] = _unit(residual, norm, torch.zeros_like(norm))
    next_look = 1
    for j in range(size):
        w = product(basis[j])
        noise = torch.finfo(w.dtype).eps * torch.linalg.vector_norm(w, dim=1)
        # Twice: once leaves rounding errors that make long cycles stall.
        for _ in range(2):
            part = torch.einsum("jse,se->sj", basis[: j + 1], w)
            w = w - torch.einsum("jse,sj->se", basis[: j + 1], part)
            hessenberg[:, : j + 1, j] += part
        height = torch.linalg.vector_norm(w, dim=1)
        # A row whose Krylov space is exhausted goes on with zeros, which change nothing.
        height = torch.where(height > 10 * noise, height, 0)
        hessenberg[:, j + 1, j] = height
        basis[j + 1] = _unit(w, height, noise)
        if j + 1 < min(next_look, size):
            continue
        next_look = max(j + 2, int(1.25 * (j + 2)))
        weights, left = _least_squares(hessenberg[:, : j + 2, : j + 1], norm)
        looked = torch.stack([(left <= wanted).all(), torch.isfinite(left).all()])
        done, finite = looked.tolist()  # the host read
        if done or j + 1 == size or not finite:
            return torch.einsum("jse,sj->se", basis[: j + 1], weights), done
    raise AssertionError("a cycle ends at its last product")


def _unit(w: Rows, norm: Tensor, least: Tensor) -> Rows:
    """Rows over their norms; 0 where the norm is not above `least`."""
    return torch.where((norm > least)[:, None], w / torch.where(norm > least, norm, 1)[:, None], 0)


def _least_squares(hessenberg: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the basis that leave the least residual, and its norm, for each system."""
    target = torch.zeros_like(hessenberg[:, :, 0])
    target[:, 0] = norm
    q, r = torch.linalg.qr(hessenberg)
    diagonal = r.diagonal(dim1=1, dim2=2)
    # Columns of 0 stand for an exhausted Krylov space; any weight will do there.
    diagonal.copy_(torch.where(diagonal == 0, 1, diagonal))
    weights = torch.linalg.solve_triangular(r, q.mT @ target[:, :, None], upper=True)
    left = torch.linalg.vector_norm(target - (hessenberg @ weights)[:, :, 0], dim=1)
    return weights[:, :, 0], left


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewtonSettings:
    """When Newton's iteration ends, and how its linear systems are solved.

    Attributes:
        rtol: wanted accuracy of the stage states, relative to each entry of the state.
        atol: the same in units of y.
        max_steps: iterations before it gives up.
        krylov_size: products a GMRES cycle; its memory in states.
        max_krylov_cycles: cycles a linear system.
        dense_size: most unknowns that a sample may have for its Jacobian to be built and factored.
    """

    rtol: float
    atol: float
    max_steps: int
    krylov_size: int
    max_krylov_cycles: int
    dense_size: int


@dataclasses.dataclass(frozen=True)
class Factors:
    """LU factors of the samples' matrices."""

    lu: Tensor
    pivots: Tensor


@dataclasses.dataclass(frozen=True)
class Stages:
    """What an iteration found.

    Attributes:
        k: the slopes.
        converged: whether they solve the system.
        factors: to start with in the next system of the same step, which has the same weights.
    """

    k: Slopes
    converged: bool
    factors: Factors | None


REFRESH_RATE = 0.1
"""An error that falls less than tenfold an iteration calls for a new Jacobian."""

FORCING = 1e-2
"""Accuracy of GMRES within an iteration; the next one removes what is left."""


def newton(
    system: StageSystem,
    guess: Slopes,
    size: Tensor,
    dt: float,
    settings: NewtonSettings,
    jacobian: Jacobian | None,
    factors: Factors | None = None,
) -> Stages:
    """Find the slopes of a stage system, without a graph.

    Args:
        system: the equations.
        guess: slopes to start from.
        size: |y0|, the least size of the state that tolerances refer to.
        dt: length of the step: slopes times dt are compared with states.
        settings: when to end.
        jacobian: products for GMRES; None builds the samples' matrices and keeps their factors
            while the iteration converges well.
        factors: factors of an earlier system.

    Returns:
        The slopes, converged or not.
    """
    k, previous, sure, growths = guess, math.inf, False, 0
    origin = guess
    for _ in range(settings.max_steps):
        states = system.states(k)
        fresh = jacobian is not None or factors is None
        if jacobian is None and factors is None:
            matrices, slopes = linearize(system, states)
            factors = Factors(*torch.linalg.lu_factor_ex(matrices)[:2])
        else:
            slopes = system.slopes(states)
        residual = system.rows(slopes - k)
        unit = system.rows(_tolerance(system, states, size, settings)) / abs(dt)
        if jacobian is None:
            assert factors is not None
            change = torch.linalg.lu_solve(factors.lu, factors.pivots, residual[:, :, None])[..., 0]
        else:
            if _largest(residual / unit) <= 1:
                return Stages(k, True, None)
            change, _ = gmres(
                system.product(jacobian, states),
                residual,
                rtol=FORCING,
                krylov_size=settings.krylov_size,
                max_cycles=settings.max_krylov_cycles,
            )
        error = _largest(change / unit)
        rate = error / previous
        if error <= 1 or (rate < 1 and previous < math.inf and error * rate / (1 - rate) <= 0.01):
            return Stages(k + system.unrows(change), True, factors)
        if not rate < 1:
            if previous < math.inf and not sure:  # led astray by an old Jacobian
                k, previous, factors = origin, math.inf, None
                continue
            growths += 1
            if growths == 2 or not math.isfinite(error):
                k = k + system.unrows(change)
                break
        origin, previous, sure = k, error, fresh
        k = k + system.unrows(change)
        if rate > REFRESH_RATE:
            factors = None
    return Stages(k, False, None)


def linearize(system: StageSystem, states: list[Tensor]) -> tuple[Tensor, Slopes]:
    """The samples' matrices and the slopes f(t_i, y_i), with one evaluation a stage."""
    with torch.enable_grad():
        states = [y.detach().requires_grad_() for y in states]
        slopes = [system.f(t, y) for t, y in zip(system.times, states, strict=True)]
    return system.matrices(slopes, states), torch.stack(slopes).detach()


def _tolerance(
    system: StageSystem, states: list[Tensor], size: Tensor, settings: NewtonSettings
) -> Tensor:
    """Wanted accuracy of each entry of the stage states; never below a sample's rounding errors."""
    magnitude = torch.maximum(torch.stack(states).abs(), size)
    info = torch.finfo(magnitude.dtype)
    per_sample = magnitude.reshape(len(states), system.num_samples, -1).amax((0, 2))
    rounding = 16 * info.eps * per_sample
    if system.num_samples > 1:
        rounding = rounding.reshape(-1, *[1] * (size.ndim - 1))
    return (settings.rtol * magnitude + rounding).add_(settings.atol + info.tiny)


def _largest(x: Tensor) -> float:
    """Largest absolute entry, on the host; NaN where there is one."""
    return float(x.abs().amax())
