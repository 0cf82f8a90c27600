"""Gradients with options under torch.compile: the solve is recorded as it stands.

Run by test_compiled_gradients.py in a process of its own.
"""

import pytest
import torch
from cases import drawn
from torch import Tensor, nn

from odevision import odesolve
from odevision.gradient import Auto, Backsolve, Checkpointed, Reversible


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(drawn(3, seed=1, leaf=False))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.sin(self.w * y)


@pytest.mark.filterwarnings("ignore::odevision.gradient.backsolve.ConvergentGradientWarning")
@pytest.mark.parametrize(
    "gradient, solver",
    [
        (Checkpointed(max_states=2), "heun"),
        (Checkpointed(graph="stage"), "heun"),
        (Reversible(anchor_every=2), "leapfrog"),
        (Reversible(), "euler"),
        (Auto(), "euler"),
    ],
    ids=str,
)
def test_a_compiled_solve_is_one_graph_with_the_same_gradient(gradient, solver: str) -> None:
    field, y0 = Field(), drawn(4, 3)

    def end(y0: Tensor) -> Tensor:
        return odesolve(field, y0, 0, 1, solver=solver, num_steps=2, gradient=gradient).y1

    theirs = torch.autograd.grad(end(y0).square().sum(), (y0, field.w))
    torch.compiler.reset()
    y1 = torch.compile(end, backend="eager", fullgraph=True)(y0)
    ours = torch.autograd.grad(y1.square().sum(), (y0, field.w))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore::odevision.gradient.backsolve.ConvergentGradientWarning")
def test_a_compiled_backsolve_is_exact() -> None:
    field, y0, results = Field(), drawn(4, 3), []
    for gradient in ("direct", Backsolve()):

        def end(y0: Tensor, gradient=gradient) -> Tensor:
            return odesolve(field, y0, 0, 1, solver="euler", num_steps=2, gradient=gradient).y1

        y1 = end(y0) if gradient == "direct" else torch.compile(end, backend="eager")(y0)
        results.append(torch.autograd.grad(y1.square().sum(), (y0, field.w)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
