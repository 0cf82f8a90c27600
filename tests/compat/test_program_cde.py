"""A user's program: a neural controlled differential equation, by torchcde.

torchcde imports torchdiffeq by itself: the program installs the drop-in first, in its own process.
"""

import importlib.util
import json
import subprocess
import sys

import pytest

PROGRAM = '''
import json, math, sys
if sys.argv[1] == "drop-in":
    import odevision.compat
    odevision.compat.install()
import torch, torchcde, torchdiffeq


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 24), torch.nn.Tanh()
        )

    def forward(self, t, z):
        return self.net(z).view(*z.shape[:-1], 8, 3)


class NeuralCDE(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.initial, self.field = torch.nn.Linear(3, 8), Field()
        self.readout = torch.nn.Linear(8, 1)

    def forward(self, coeffs, spline, **settings):
        X = spline(coeffs)
        if settings.pop("jumps", False):
            settings["options"] = {"jump_t": X.grid_points}
        z0 = self.initial(X.evaluate(X.interval[0]))
        z = torchcde.cdeint(X=X, func=self.field, z0=z0, t=X.interval, **settings)
        return self.readout(z[:, 1]).squeeze(-1)


def spirals(num):
    """Which way a spiral turns, from its points and their times."""
    generator = torch.Generator().manual_seed(0)
    t = torch.linspace(0, 4 * math.pi, 20)
    phase = 2 * math.pi * torch.rand(num, 1, generator=generator)
    labels = (torch.arange(num) % 2).float()
    angle = (2 * labels[:, None] - 1) * t + phase
    radius = 1 / (1 + 0.5 * t)
    points = torch.stack([t.expand(num, -1) / 12, radius * angle.cos(), radius * angle.sin()], -1)
    return points, labels


def train(num_steps, interpolate, spline, **settings):
    torch.manual_seed(0)
    model, (points, labels) = NeuralCDE(), spirals(64)
    coeffs = interpolate(points)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(num_steps):
        answer = model(coeffs, spline, **settings)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(answer, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    accuracy = ((answer > 0) == (labels > 0.5)).float().mean().item()
    return losses, accuracy


smooth = (torchcde.hermite_cubic_coefficients_with_backward_differences, torchcde.CubicSpline)
kinked = (torchcde.linear_interpolation_coeffs, torchcde.LinearInterpolation)
long, accuracy = train(25, *smooth, method="rk4", options={"step_size": 1.0}, adjoint=False)
print(json.dumps({
    "module": torchdiffeq.odeint.__module__,
    "losses": long,
    "accuracy": accuracy,
    "adjoint": train(3, *smooth, rtol=1e-4, atol=1e-5)[0],
    "direct": train(3, *smooth, rtol=1e-4, atol=1e-5, adjoint=False)[0],
    "jumps": train(3, *kinked, rtol=1e-3, atol=1e-4, jumps=True, adjoint=False)[0],
}))
'''


@pytest.fixture(scope="module")
def runs() -> dict[str, dict]:
    """What the program prints on each library."""
    if importlib.util.find_spec("torchcde") is None:
        pytest.skip("needs torchcde, whose program this is")
    libraries = ["drop-in"]
    if importlib.util.find_spec("torchdiffeq") is not None:
        libraries.append("torchdiffeq")
    found = {}
    for library in libraries:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, library], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found[library] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_torchcde_runs_on_the_drop_in(runs: dict[str, dict]) -> None:
    assert runs["drop-in"]["module"].startswith("odevision.compat")


def test_a_neural_cde_tells_which_way_a_spiral_turns(runs: dict[str, dict]) -> None:
    losses = runs["drop-in"]["losses"]
    assert losses[-1] < 0.5 * losses[0]
    assert runs["drop-in"]["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("part", "rel"), [("losses", 1e-4), ("adjoint", 1e-2), ("direct", 1e-2), ("jumps", 1e-2)]
)
def test_a_neural_cde_has_the_losses_that_it_has_with_torchdiffeq(
    runs: dict[str, dict], part: str, rel: float
) -> None:
    if "torchdiffeq" not in runs:
        pytest.skip("needs torchdiffeq to compare with")
    assert runs["drop-in"][part] == pytest.approx(runs["torchdiffeq"][part], rel=rel)
