"""A user's program: a continuous normalizing flow, whose state is a tuple, with the adjoint."""

import math
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from odevision.compat import torchdiffeq as drop_in


class Flow(nn.Module):
    """dz/dt = f(t, z) and d log p / dt = -tr df/dz."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 2)
        )

    def forward(self, t: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        z, _ = states
        with torch.set_grad_enabled(True):
            z.requires_grad_(True)
            slope = self.net(torch.cat([z, t.expand(len(z), 1)], 1))
            trace = sum(
                torch.autograd.grad(slope[:, i].sum(), z, create_graph=True)[0][:, i]
                for i in range(2)
            )
        return slope, -trace.view(len(z), 1)


def two_moons(num: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    angle = math.pi * torch.rand(num, generator=generator)
    upper = torch.arange(num) % 2 == 0
    x = torch.where(upper, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin()) - 0.25
    points = torch.stack([x, y], 1)
    return points + 0.07 * torch.randn(points.shape, generator=generator)


def log_likelihood(library: ModuleType, flow: Flow, x: Tensor) -> Tensor:
    """Mean over the points, which flow backward in time to a standard normal distribution."""
    t = torch.tensor([1.0, 0.0])
    zs, changes = library.odeint_adjoint(
        flow, (x, torch.zeros(len(x), 1)), t, atol=1e-5, rtol=1e-5, method="dopri5"
    )
    z0, change = zs[-1], changes[-1]
    base = torch.distributions.Normal(0.0, 1.0).log_prob(z0).sum(1)
    return (base - change[:, 0]).mean()


def train(library: ModuleType, num_steps: int) -> tuple[list[float], Flow]:
    torch.manual_seed(0)
    flow, points = Flow(), two_moons(128)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    likelihoods = []
    for _ in range(num_steps):
        value = log_likelihood(library, flow, points)
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
        likelihoods.append(value.item())
    return likelihoods, flow


def test_a_flow_raises_the_likelihood_of_its_data() -> None:
    likelihoods, flow = train(drop_in, 30)
    assert likelihoods[-1] > likelihoods[0] + 0.25
    # It stays a density: its integral over the plane, by a Riemann sum, is one.
    axis = torch.linspace(-4, 4, 33)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    with torch.no_grad():
        t = torch.tensor([1.0, 0.0])
        zs, changes = drop_in.odeint(
            flow, (grid, torch.zeros(len(grid), 1)), t, rtol=1e-4, atol=1e-5
        )
        base = torch.distributions.Normal(0.0, 1.0).log_prob(zs[-1]).sum(1)
        density = (base - changes[-1][:, 0]).exp()
    assert density.sum().item() * (8 / 32) ** 2 == pytest.approx(1.0, abs=0.05)


def test_a_flow_has_the_likelihoods_that_it_has_with_torchdiffeq(torchdiffeq: ModuleType) -> None:
    ours, theirs = train(drop_in, 5)[0], train(torchdiffeq, 5)[0]
    assert ours == pytest.approx(theirs, abs=2e-3)
