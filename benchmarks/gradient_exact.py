"""How far gradients are from that of backpropagation through the same steps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from odevision import odesolve
from odevision.evaluation.split import load_test_images
from odevision.gradient import AbstractGradient, Checkpointed, Direct, Reversible
from odevision.nn import ODEBlock
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solver import AbstractSolver
from odevision.ode.solvers import SOLVERS
from odevision.training.checkpoint import load_checkpoint

STEPS = (3, 10, 100)
DOUBLE = torch.float64


def difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm, of all gradients together."""
    norm = lambda parts: torch.stack([x.double().norm() for x in parts]).norm()
    off = [a.double() - b.double() for a, b in zip(ours, theirs, strict=True)]
    return float(norm(off) / norm(theirs))


def worst_difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The same of each gradient alone; the largest."""
    return max(difference([a], [b]) for a, b in zip(ours, theirs, strict=True))


def explicit_methods() -> list[str]:
    """Names of all solvers that evaluate no equation to be solved."""
    return [name for name, solver in SOLVERS.items() if not solver.iterates]


def small_gradients(
    solver: str | AbstractSolver, num_steps: int, gradient: Any, *, nudge: float = 0.0
) -> list[Tensor]:
    """Gradients of y0, t0, t1, an argument and the parameters of a small network, in float64.

    Args:
        solver: a method.
        num_steps: equal steps.
        gradient: a gradient method.
        nudge: relative change of y0.
    """
    draw = torch.Generator().manual_seed(0)
    make = lambda *shape: torch.randn(*shape, dtype=DOUBLE, generator=draw).requires_grad_()
    y0, w1, w2, b, a = make(4, 3), make(3, 8), make(8, 3), make(8), make(3)
    t0, t1 = (torch.tensor(t, dtype=DOUBLE, requires_grad=True) for t in (0.1, 1.3))
    y0 = (y0.detach() * (1 + nudge)).requires_grad_()
    f = lambda t, y, a: torch.tanh(y @ w1 + b * t) @ w2 * a / 8
    solution = odesolve(
        f, y0, t0, t1, args=(a,), solver=solver, num_steps=num_steps, gradient=gradient
    )
    wanted = [y0, t0, t1, a, w1, w2, b]
    return list(torch.autograd.grad(solution.y1.square().sum(), wanted))


def checkpointed_table() -> list[dict[str, Any]]:
    """Checkpointed against direct: every explicit method, the worst of all gradients."""
    variants: dict[str, AbstractGradient] = {
        "all states": Checkpointed(),
        "sqrt(N) states": Checkpointed(max_states="sqrt"),
        "3 states": Checkpointed(max_states=3),
        "by stages": Checkpointed(graph="stage"),
    }
    rows = []
    for solver in explicit_methods():
        for num_steps in STEPS:
            exact = small_gradients(solver, num_steps, Direct())
            if not all(bool(torch.isfinite(x).all()) for x in exact):
                rows.append({"solver": solver, "num_steps": num_steps})  # too coarse: it blew up
                continue
            row: dict[str, Any] = {"solver": solver, "num_steps": num_steps}
            # What rounding in the last place alone does to the gradient of `direct`.
            nudged = small_gradients(solver, num_steps, Direct(), nudge=2.0**-52)
            row["rounding"] = worst_difference(nudged, exact)
            for name, gradient in variants.items():
                by_stages = isinstance(SOLVERS[solver], ExplicitRungeKutta)
                if name != "by stages" or by_stages:
                    found = small_gradients(solver, num_steps, gradient)
                    row[name] = worst_difference(found, exact)
            rows.append(row)
    return rows


def trained_fields() -> dict[str, tuple[nn.Module, Tensor]]:
    """Vector fields of shipped networks, each with a state that it receives."""
    fields = {}
    loaded = load_checkpoint("mnist")
    images = load_test_images(loaded, data="mnist-mini", limit=16).images
    assert images is not None
    fields["mnist, ReLU"] = _first_block(loaded.model, loaded.preprocessing.normalize(images))
    noise = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loaded = load_checkpoint("cifar10")
    pixels = loaded.preprocessing.normalize((255 * noise).to(torch.uint8))
    fields["cifar10, GELU"] = _first_block(loaded.model, pixels)
    return fields


def _first_block(model: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor]:
    """The field of a network's first ODE block, and the block's input."""
    block = next(part for part in model.modules() if isinstance(part, ODEBlock))
    inputs: list[Tensor] = []
    hook = block.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        model(images)
    hook.remove()
    return block.vector_field, inputs[0]


def reversible_table(num_steps: int = 100) -> list[dict[str, Any]]:
    """Reversible against direct over many steps of trained fields, with the same solver."""
    rows = []
    for label, (field, y0) in trained_fields().items():
        for solver in ("leapfrog", "reversible-heun", "rk4", "dopri5"):
            for dtype in (torch.float32, DOUBLE):
                for anchors in (None, 10):
                    gradient = Reversible(anchor_every=anchors)
                    method = gradient.solver_for(SOLVERS[solver])
                    answers = [
                        _block_gradients(field.to(dtype), y0.to(dtype), method, num_steps, g)
                        for g in (gradient, Direct())
                    ]
                    row = {
                        "field": label,
                        "solver": method.name,
                        "dtype": str(dtype).removeprefix("torch."),
                        "anchor_every": anchors,
                        "difference": difference(*answers),
                        "worst": worst_difference(*answers),
                    }
                    rows.append(row)
    return rows


def _block_gradients(
    field: nn.Module, y0: Tensor, solver: AbstractSolver, num_steps: int, gradient: AbstractGradient
) -> list[Tensor]:
    y = y0.detach().requires_grad_()
    prepare = getattr(field, "prepare", None)
    args = () if prepare is None else tuple(prepare(y))
    solution = odesolve(
        field, y, 0.0, 1.0, args=args, solver=solver, num_steps=num_steps, gradient=gradient
    )
    return list(torch.autograd.grad(solution.y1.square().sum(), [y, *field.parameters()]))
