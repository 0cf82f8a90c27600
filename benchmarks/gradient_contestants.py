"""The ways to differentiate a solve that `benchmarks.gradients` compares."""

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchdiffeq
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from benchmarks.textbook_field import TextbookField
from odevision.gradient import Direct
from odevision.nn import ConvField, ODEBlock
from odevision.solve import resolve_gradient

Solve = Callable[[Tensor], Tensor]
RTOL = ATOL = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to solve and differentiate.

    Attributes:
        solve: y0 -> y(t1).
        parameters: what gradients reach beside y0.
        nfe: evaluations of f of the last pass, forward and backward.
        autocast: f runs in bfloat16.
        stats: cost of the last pass, where it is ours.
        split: the time channel's weights are parameters of their own, as in our field.
        recorded: autograd keeps all that it needs; ours beside `direct` keep states of their own.
    """

    solve: Solve
    parameters: Sequence[Tensor]
    nfe: Callable[[], tuple[int, int | None]]
    autocast: bool = False
    stats: Callable[[], Any] = lambda: None
    split: bool = False
    recorded: bool = True


class Fields:
    """One and the same vector field in our form and in the textbook's.

    Args:
        channels: of the state.
        device: where the weights are.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        """Draw the weights once."""
        torch.manual_seed(0)
        self.ours = ConvField(channels).to(device)
        self.textbook = TextbookField(self.ours).to(device)
        self.device = device

    def block(self, *, autocast: bool = False, **settings: Any) -> Contestant:
        """Our ODEBlock with our field."""
        block = ODEBlock(self.ours, **{"rtol": RTOL, "atol": ATOL, **settings})

        def nfe() -> tuple[int, int]:
            assert block.last_stats is not None
            return block.last_stats.nfe_forward, block.last_stats.nfe_backward

        f = self.ours
        parameters = [p for norm in (f.norm1, f.norm2, f.norm3) for p in norm.parameters()]
        for conv in (f.conv1, f.conv2):
            parameters += [conv.time_weight, conv.weight, conv.bias]
        return Contestant(
            solve=block,
            split=True,
            parameters=parameters,
            nfe=nfe,
            autocast=autocast,
            stats=lambda: block.last_stats,
            recorded=isinstance(resolve_gradient(block.gradient), Direct),
        )

    def torchdiffeq(self, function: str = "odeint", **settings: Any) -> Contestant:
        """Solve by torchdiffeq, with the textbook's field."""
        t = torch.tensor([0.0, 1.0], device=self.device)
        solve = getattr(torchdiffeq, function)
        return self._textbook(
            lambda y: solve(self.textbook, y, t, **{"rtol": RTOL, "atol": ATOL, **settings})[-1]
        )

    def torchode(self) -> Contestant:
        """Solve by torchode's AutoDiffAdjoint with dopri5: a step size a sample, flat states."""
        to: Any = importlib.import_module("torchode")
        shape: list[torch.Size] = []

        def f(t: Tensor, y: Tensor) -> Tensor:
            return self.textbook(t.view(-1, 1, 1, 1), y.view(shape[-1])).flatten(1)

        term = to.ODETerm(f)
        method = to.Dopri5(term=term)
        controller = to.IntegralController(atol=ATOL, rtol=RTOL, term=term)
        adjoint = to.AutoDiffAdjoint(method, controller)

        def solve(y: Tensor) -> Tensor:
            shape.append(y.shape)
            ends = torch.tensor([[0.0, 1.0]], device=y.device).expand(len(y), 2)
            problem = to.InitialValueProblem(y0=y.flatten(1), t_eval=ends)
            return adjoint.solve(problem).ys[:, -1].view_as(y)

        return self._textbook(solve)

    def hand_written_rk4(self, num_steps: int, *, around: str | None = None) -> Contestant:
        """A loop of RK4 steps with the textbook's field.

        Args:
            num_steps: equal steps over [0, 1].
            around: "checkpoint" puts torch.utils.checkpoint around each step; "compile" and
                "max-autotune" compile the unrolled loop; None leaves it as it is.
        """
        compiles = around in ("compile", "max-autotune")
        f, dt = TextbookField(self.ours).to(self.device), 1.0 / num_steps
        f.counts = not compiles
        times = torch.linspace(0, 1, 2 * num_steps + 1, device=self.device).unbind()

        def step(i: int, y: Tensor) -> Tensor:
            t0, middle, t1 = times[2 * i], times[2 * i + 1], times[2 * i + 2]
            k1 = f(t0, y)
            k2 = f(middle, y + dt / 2 * k1)
            k3 = f(middle, y + dt / 2 * k2)
            k4 = f(t1, y + dt * k3)
            return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

        def loop(y: Tensor) -> Tensor:
            for i in range(num_steps):
                if around == "checkpoint":
                    y = checkpoint(step, i, y, use_reentrant=False)  # type: ignore[assignment]
                else:
                    y = step(i, y)
            return y

        if compiles:
            mode = None if around == "compile" else around
            compiled = torch.compile(loop, fullgraph=True, dynamic=False, mode=mode)
            found = self._textbook(compiled, f)
            return dataclasses.replace(found, nfe=lambda: (4 * num_steps, None))
        return self._textbook(loop, f)

    def _textbook(self, solve: Solve, field: TextbookField | None = None) -> Contestant:
        field = field or self.textbook
        forward = [0]

        def counted(y: Tensor) -> Tensor:
            field.nfe = 0
            y1 = solve(y)
            forward[0] = field.nfe
            return y1

        return Contestant(
            solve=counted,
            parameters=list(field.parameters()),
            nfe=lambda: (forward[0], field.nfe - forward[0]),
        )


def has_torchode() -> bool:
    """Whether torchode can be imported; it is no dependency of the project."""
    return importlib.util.find_spec("torchode") is not None


def one_pass(contestant: Contestant, y0: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Solve, and differentiate a fixed random combination of the entries of y1.

    Returns:
        y1, and the gradients of y0 and of the textbook's parameters in its order.
    """
    y = y0.detach().requires_grad_()
    with torch.autocast(y.device.type, torch.bfloat16, enabled=contestant.autocast):
        y1 = contestant.solve(y)
    inputs = [y, *contestant.parameters]
    # The sum would not do: a norm at the end of f makes it almost independent of the rest.
    lam = torch.randn(y1.shape, generator=torch.Generator().manual_seed(1)).to(y1)
    gradients = torch.autograd.grad(y1, inputs, lam)
    if contestant.split:
        before, (t1, w1, b1, t2, w2, b2) = gradients[:-6], gradients[-6:]
        gradients = (*before, torch.cat([t1, w1], 1), b1, torch.cat([t2, w2], 1), b2)
    return y1.detach(), list(gradients)
