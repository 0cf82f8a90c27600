"""A user's program: a latent ODE, a recurrent encoder and an ODE decoder on noisy spirals."""

import math
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from odevision.compat import torchdiffeq as drop_in

LATENT, HIDDEN, NOISE = 4, 20, 0.3


def spirals(num: int) -> tuple[Tensor, Tensor]:
    """Observed points of shape (num, times, 2), half of them turning each way, and the times."""
    generator = torch.Generator().manual_seed(1)
    t = torch.linspace(0, 2 * math.pi, 25)
    phase = torch.rand(num, 1, generator=generator) * math.pi
    direction = torch.where(torch.arange(num) % 2 == 0, 1.0, -1.0)[:, None]
    angle, radius = direction * t + phase, 0.5 + 0.2 * t
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)
    return points + 0.05 * torch.randn(points.shape, generator=generator), t


class Dynamics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(LATENT, HIDDEN),
            nn.ELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ELU(),
            nn.Linear(HIDDEN, LATENT),
        )

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.net(z)


class LatentODE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(2, HIDDEN, batch_first=True)
        self.to_latent = nn.Linear(HIDDEN, 2 * LATENT)
        self.dynamics = Dynamics()
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))

    def elbo(self, library: ModuleType, points: Tensor, t: Tensor, sample: Tensor) -> Tensor:
        """Evidence lower bound a trajectory, with a normal likelihood of known noise."""
        _, hidden = self.encoder(points.flip(1))
        mean, log_variance = self.to_latent(hidden[0]).chunk(2, -1)
        z0 = mean + sample * (0.5 * log_variance).exp()
        zs = library.odeint(self.dynamics, z0, t, rtol=1e-5, atol=1e-6).permute(1, 0, 2)
        residual = (self.decoder(zs) - points) / NOISE
        log_likelihood = -0.5 * (residual**2 + math.log(2 * math.pi * NOISE**2))
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        return (log_likelihood.sum((1, 2)) - divergence.sum(1)).mean()


def train(library: ModuleType, num_steps: int) -> list[float]:
    torch.manual_seed(0)
    model, (points, t) = LatentODE(), spirals(40)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(num_steps):
        loss = -model.elbo(library, points, t, torch.randn(len(points), LATENT))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_latent_ode_raises_its_evidence_lower_bound() -> None:
    losses = train(drop_in, 60)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_a_latent_ode_has_the_losses_that_it_has_with_torchdiffeq(torchdiffeq: ModuleType) -> None:
    assert train(drop_in, 10) == pytest.approx(train(torchdiffeq, 10), rel=1e-3)
