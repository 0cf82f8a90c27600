"""A user's program: an ODE-Net on MNIST, with the adjoint, as of Chen et al. 2018."""

from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odevision.compat import torchdiffeq as drop_in
from odevision.data.sources import load_split

WIDTH = 12


class TimeConv(nn.Module):
    """A convolution that sees the time as one more channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH + 1, WIDTH, 3, padding=1)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.conv(torch.cat([torch.ones_like(x[:, :1]) * t, x], 1))


class Dynamics(nn.Module):
    """The vector field; it counts its evaluations, as users' modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = TimeConv(), TimeConv()
        self.norms = nn.ModuleList(nn.GroupNorm(4, WIDTH) for _ in range(3))
        self.nfe = 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.nfe += 1
        x = self.first(t, F.relu(self.norms[0](x)))
        return self.norms[2](self.second(t, F.relu(self.norms[1](x))))


class ODEBlock(nn.Module):
    """The layer, written against the library's function."""

    def __init__(self, odeint: object) -> None:
        super().__init__()
        self.dynamics, self.odeint = Dynamics(), odeint
        self.register_buffer("times", torch.tensor([0, 1]).float())

    def forward(self, x: Tensor) -> Tensor:
        out = self.odeint(self.dynamics, x, self.times.type_as(x), rtol=1e-3, atol=1e-3)
        return out[1]


def network(odeint: object) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, 4, 2, 1),
        nn.GroupNorm(4, WIDTH),
        nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 4, 2, 1),
        ODEBlock(odeint),
        nn.GroupNorm(4, WIDTH),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(49 * WIDTH, 10),
    )


def batch(split: str, size: int) -> tuple[Tensor, Tensor]:
    data = load_split("mnist-mini", split)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:size]
    return data.images[order].float() / 255, data.labels[order]


def train(library: ModuleType, num_steps: int) -> tuple[list[float], float, list[int]]:
    """Losses of the steps, accuracy on test images, and evaluations forward and backward."""
    torch.manual_seed(0)
    model = network(library.odeint_adjoint)
    dynamics = model[4].dynamics
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    images, labels = batch("train", 64 * num_steps)
    losses, evaluations = [], [0, 0]
    for x, y in zip(images.split(64), labels.split(64), strict=True):
        dynamics.nfe = 0
        loss = F.cross_entropy(model(x), y)
        evaluations[0] += dynamics.nfe
        dynamics.nfe = 0
        optimizer.zero_grad()
        loss.backward()
        evaluations[1] += dynamics.nfe
        optimizer.step()
        losses.append(loss.item())
    images, labels = batch("test", 300)
    with torch.no_grad():
        accuracy = (model(images).argmax(1) == labels).float().mean().item()
    return losses, accuracy, evaluations


def test_an_odenet_learns_digits() -> None:
    losses, accuracy, _ = train(drop_in, 30)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert accuracy > 0.6  # 0.1 is chance


def test_an_odenet_takes_the_steps_that_it_takes_with_torchdiffeq(torchdiffeq: ModuleType) -> None:
    ours, _, our_cost = train(drop_in, 5)
    theirs, _, their_cost = train(torchdiffeq, 5)
    assert ours == pytest.approx(theirs, rel=0.03)
    assert sum(our_cost) <= 1.1 * sum(their_cost)
