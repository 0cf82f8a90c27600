"""The gradient through solved stages, by the implicit function theorem."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from odevision.ode.newton_krylov import NewtonSettings, gmres
from odevision.ode.solution import Result, SolveError
from odevision.ode.stage_system import Rows, Slopes, StageSystem
from odevision.ode.tracing import tracked, transformed
from odevision.types import State


def attach_gradient(
    system: StageSystem, found: Slopes, settings: NewtonSettings
) -> list[State] | Slopes:
    """Give slopes that Newton's iteration found without a graph their gradient.

    At the solution of k = f(t, base + W k), the differential is (I - J W) dk = df, where df is that
    of f at fixed slopes. So f is evaluated once more there, with a graph to base and to all tensors
    that f uses, and on the way back the transposed linear system comes first.

    Args:
        system: the equations, whose base may carry a graph.
        found: their solution.
        settings: sizes and accuracy of the linear solver.

    Returns:
        The slopes; those of `found` where nothing needs a gradient.
    """
    followed = transformed() and not torch.compiler.is_compiling()
    if not (torch.is_grad_enabled() or followed):
        return found
    fixed = list(found)
    states = system.states(fixed)
    slopes = [system.f(t, y) for t, y in zip(system.times, states, strict=True)]
    if followed and any(map(tracked, slopes)):
        raise ValueError(
            "`solver` must be an explicit method under torch.func and in forward mode, which can't "
            "follow Newton's iteration, got an implicit one. Try solver='tsit5', or "
            "torch.autograd.grad."
        )
    if not any(k.requires_grad for k in slopes):
        return found
    if not states[0].requires_grad:  # only f carries a graph: the linear system needs that to y too
        states = [y.requires_grad_() for y in states]
        slopes = [system.f(t, y) for t, y in zip(system.times, states, strict=True)]
    return list(_StageAdjoint.apply(system, found, settings, *slopes, *states))


class _StageAdjoint(torch.autograd.Function):
    """Passes found slopes through; backward solves the transposed linear system."""

    @staticmethod
    def forward(
        ctx: Any, system: StageSystem, found: Slopes, settings: NewtonSettings, *graph: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.system = dataclasses.replace(system, base=system.base.detach())
        ctx.settings = settings
        ctx.save_for_backward(*graph)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *lams: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # once_differentiable would give a gradient without a graph
            raise ValueError(
                "`solver` must be an explicit method where a gradient is differentiated again "
                "(create_graph=True), got an implicit one. Try solver='tsit5'."
            )
        stages = len(ctx.system.times)
        slopes, states = ctx.saved_tensors[:stages], ctx.saved_tensors[stages:]
        lam = torch.stack(lams)
        solved = _solve_transposed(ctx.system, slopes, states, lam, ctx.settings)
        return None, None, None, *solved, *[None] * stages


def _solve_transposed(
    system: StageSystem,
    slopes: tuple[State, ...],
    states: tuple[State, ...],
    lam: Slopes,
    settings: NewtonSettings,
) -> Slopes:
    """Solve (I - J W)^T w = lam.

    The samples' own blocks go first. What they leave, because samples influence one another after
    all, is solved for jointly: a gradient must not rest on an assumption.
    """
    b = system.rows(lam)
    if system.is_small(settings.dense_size):
        matrices = system.matrices(slopes, states).mT
        w = torch.linalg.solve_ex(matrices, b[:, :, None])[0][..., 0]
    else:
        w = _krylov(system, slopes, states, b, settings)
    if system.num_samples == 1:
        return system.unrows(w)
    joint = dataclasses.replace(system, num_samples=1)
    w = joint.rows(system.unrows(w))
    b = joint.rows(lam)
    left = b - joint.transposed_product(slopes, states)(w)
    norms = torch.stack([torch.linalg.vector_norm(x) for x in (left, b)]).tolist()
    if norms[0] > settings.rtol * norms[1]:
        w = w + _krylov(joint, slopes, states, left, settings, norms[1] / norms[0])
    return joint.unrows(w)


def _krylov(
    system: StageSystem,
    slopes: tuple[State, ...],
    states: tuple[State, ...],
    b: Rows,
    settings: NewtonSettings,
    slack: float = 1.0,
) -> Rows:
    w, done = gmres(
        system.transposed_product(slopes, states),
        b,
        rtol=settings.rtol * slack,
        krylov_size=settings.krylov_size,
        max_cycles=settings.max_krylov_cycles,
    )
    if not done:
        t = system.times[0]
        cause = "The linear system of an implicit step's gradient was not solved to `newton_rtol`"
        raise SolveError(Result.NOT_CONVERGED, cause, t=t, dt=None, sample=None)
    return w
