"""The four problems of `benchmarks.solvers`, each in the form that each library wants.

They are drawn in float32, so that a float64 version for references has the same values.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.textbook_field import TextbookField
from odevision.nn import ConvField

ArrayField = Callable[[float, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """dy/dt = f(t, y) from y(0) = y0 to t1, to the tolerance rtol = atol = `tolerance`.

    Attributes:
        name: the word for `--only`.
        title: the problem in one line.
        field: f(t, y) as users of the peers write it.
        flat_field: f(t, y) for states of shape (batch, features) and one time a sample; scriptable.
        our_field: the same f in our form, called with `our_args(y0)` as further arguments.
        our_args: what is made once a solve.
        per_sample_args: they hold one entry a sample.
        gradients: dL/dtheta after a backward pass, in one order for ours and theirs.
        y0: state at t = 0.
        t1: end time.
        tolerance: rtol and atol.
        reference_tolerance: that of the float64 reference.
        agreement: largest error of y(t1) that still counts as an answer, in units of y.
        gradient_agreement: the same of a gradient, relative in the 2-norm.
        array_field: f on a float64 array of the raveled state, without torch.
        array_field_of_one: f of sample i alone, without torch.
    """

    name: str
    title: str
    field: nn.Module
    flat_field: nn.Module
    our_field: Callable[..., Tensor]
    our_args: Callable[[Tensor], tuple[Tensor, ...]] = lambda y0: ()
    per_sample_args: bool = False
    gradients: Callable[[], list[Tensor]]
    y0: Tensor
    t1: float
    tolerance: float
    reference_tolerance: float = 1e-11
    agreement: float
    gradient_agreement: float
    array_field: ArrayField | None = None
    array_field_of_one: Callable[[int], Callable[[float, list[float]], list[float]]] | None = None


class Spiral(nn.Module):
    """dy/dt = y^3 A, one matrix product."""

    def __init__(self) -> None:
        """The matrix of torchdiffeq's demo."""
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[-0.1, 2.0], [-2.0, -0.1]]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt."""
        return (y**3) @ self.matrix


class Perceptron(nn.Module):
    """Three linear layers, 4-32-32-4, with tanh between them."""

    def __init__(self) -> None:
        """Draw torch's own initial weights."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4)
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt."""
        return self.layers(y)


def lotka_volterra(t: Tensor, y: Tensor, rates: Tensor) -> Tensor:
    """Prey x and predators z: dx/dt = x (a - b z), dz/dt = z (c x - d).

    Args:
        t: time, of no effect.
        y: (batch, 2), the pairs (x, z).
        rates: (batch, 4), a, b, c and d of each system.
    """
    prey, predators = y[:, 0], y[:, 1]
    a, b, c, d = rates[:, 0], rates[:, 1], rates[:, 2], rates[:, 3]
    return torch.stack([prey * (a - b * predators), predators * (c * prey - d)], 1)


class LotkaVolterra(nn.Module):
    """`lotka_volterra` of rates that are its parameter."""

    def __init__(self, rates: Tensor) -> None:
        """Take the rates, (batch, 4)."""
        super().__init__()
        self.rates = nn.Parameter(rates)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt."""
        return lotka_volterra(t, y, self.rates)


class FlatTextbookField(nn.Module):
    """The textbook field on flattened images, with one time an image."""

    def __init__(self, textbook: TextbookField) -> None:
        """Share the layers of the textbook field."""
        super().__init__()
        self.norm1, self.norm2, self.norm3 = textbook.norms
        self.conv1, self.conv2 = textbook.convs

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt, of shape (batch, 64 * 6 * 6) as y."""
        y = y.view(-1, 64, 6, 6)
        t = t.view(-1, 1, 1, 1)
        x = torch.relu(self.norm1(y))
        x = self.conv1(torch.cat([torch.ones_like(x[:, :1]) * t, x], 1))
        x = torch.relu(self.norm2(x))
        x = self.conv2(torch.cat([torch.ones_like(x[:, :1]) * t, x], 1))
        return self.norm3(x).flatten(1)


def spiral(device: str, dtype: torch.dtype) -> Problem:
    """A field of two operations: what is timed is the solver."""
    field = Spiral().to(device, dtype)
    matrix = field.matrix.detach().cpu().double().numpy()
    return Problem(
        name="spiral",
        title="dy/dt = y^3 A, batch 64 x 2, t 0 to 25, 1e-6",
        field=field,
        flat_field=field,
        our_field=field,
        gradients=lambda: _gradients(field),
        y0=_draw(64, 2).to(device, dtype),
        t1=25.0,
        tolerance=1e-6,
        agreement=5e-3,
        gradient_agreement=2e-2,
        array_field=lambda t, y: ((y.reshape(-1, 2) ** 3) @ matrix).ravel(),
    )


def mlp(device: str, dtype: torch.dtype) -> Problem:
    """A small network over a long time."""
    torch.manual_seed(0)
    field = Perceptron().to(device, dtype)
    return Problem(
        name="mlp",
        title="three-layer MLP 4-32-32-4, tanh, batch 64, t 0 to 100, 1e-6",
        field=field,
        flat_field=field,
        our_field=field,
        gradients=lambda: _gradients(field),
        y0=_draw(64, 4).to(device, dtype),
        t1=100.0,
        tolerance=1e-6,
        agreement=5e-3,
        gradient_agreement=2e-2,
    )


def block(device: str, dtype: torch.dtype) -> Problem:
    """The paper's block: the field itself is most of the time."""
    torch.manual_seed(0)
    ours = ConvField(64).to(device, dtype)
    textbook = TextbookField(ours).to(device, dtype)
    flat = FlatTextbookField(textbook)

    def gradients() -> list[Tensor]:
        """Those of the convolutions; the norms are the same modules on both sides."""
        if theirs := _gradients(textbook.convs):
            return theirs
        found = []
        for conv in (ours.conv1, ours.conv2):
            time_weight, weight, bias = _gradients(conv)
            found += [torch.cat([time_weight, weight], 1), bias]
        return found

    return Problem(
        name="block",
        title="ODE block of Chen et al. 2018, batch 128 x 64 x 6 x 6, t 0 to 1, 1e-3",
        field=textbook,
        flat_field=flat,
        our_field=ours,
        our_args=lambda y0: tuple(ours.prepare(y0)),
        gradients=gradients,
        y0=_draw(128, 64, 6, 6).to(device, dtype),
        t1=1.0,
        tolerance=1e-3,
        reference_tolerance=1e-7,
        agreement=1e-1,
        gradient_agreement=2e-1,
    )


def lotka_volterra_systems(device: str, dtype: torch.dtype) -> Problem:
    """Independent systems, each with rates and a start of its own."""
    batch = 10_000
    rates = 0.5 + torch.rand(batch, 4, generator=torch.Generator().manual_seed(1))
    y0 = 0.5 + 1.5 * torch.rand(batch, 2, generator=torch.Generator().manual_seed(2))
    field = LotkaVolterra(rates).to(device, dtype)
    columns = rates.double().numpy().T

    def array_field(t: float, y: np.ndarray) -> np.ndarray:
        a, b, c, d = columns
        prey, predators = y.reshape(-1, 2).T
        return np.stack([prey * (a - b * predators), predators * (c * prey - d)], 1).ravel()

    def array_field_of_one(i: int) -> Callable[[float, list[float]], list[float]]:
        a, b, c, d = columns[:, i].tolist()
        return lambda t, y: [y[0] * (a - b * y[1]), y[1] * (c * y[0] - d)]

    return Problem(
        name="lotka-volterra",
        title=f"{batch:,} Lotka-Volterra systems, rates and starts of their own, t 0 to 10, 1e-6",
        field=field,
        flat_field=field,
        our_field=lotka_volterra,
        our_args=lambda y0: (field.rates,),
        per_sample_args=True,
        gradients=lambda: _gradients(field),
        y0=y0.to(device, dtype),
        t1=10.0,
        tolerance=1e-6,
        agreement=5e-3,
        gradient_agreement=2e-2,
        array_field=array_field,
        array_field_of_one=array_field_of_one,
    )


PROBLEMS: dict[str, Callable[[str, torch.dtype], Problem]] = {
    "spiral": spiral,
    "mlp": mlp,
    "block": block,
    "lotka-volterra": lotka_volterra_systems,
}


def _draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad for p in module.parameters() if p.grad is not None]
