"""A field in half precision: what no shorter step could mend is no reason for one."""

import pytest
import torch
from torch import Tensor, nn

from odevision import PIDController, odesolve

BF16_ROUNDING = 2.0**-8  # largest relative rounding error of bfloat16
TOLERANCE = 1e-5


def perceptron(gain: float = 1.0) -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 16))
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(gain)
    return net, torch.randn(32, 16)


def convolution() -> tuple[nn.Module, Tensor]:
    layers = (nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1))
    return nn.Sequential(*layers), torch.randn(8, 8, 6, 6)


FIELDS = {
    "perceptron": perceptron,
    "convolution": convolution,
    "strong perceptron": lambda: perceptron(3.0),
}
each_field = pytest.mark.parametrize("name", list(FIELDS))


def make(name: str):
    torch.manual_seed(0)
    net, y0 = FIELDS[name]()
    return (lambda t, y: net(y)), y0


def solve(f, y0: Tensor, *, solver: str = "dopri5", **options):
    with torch.no_grad():
        return odesolve(f, y0, 0, 1, solver=solver, **options)


@each_field
@pytest.mark.parametrize("solver", ["dopri5", "tsit5", "bosh3", "dopri8"])
def test_bfloat16_does_not_inflate_the_number_of_evaluations(name: str, solver: str) -> None:
    f, y0 = make(name)
    tight = {"rtol": TOLERANCE, "atol": TOLERANCE}
    plain = solve(f, y0, solver=solver, **tight)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = solve(f, y0, solver=solver, **tight)
        blind = solve(
            f,
            y0,
            solver=solver,
            controller=PIDController(noise=0.0, **tight),
            max_steps=5 * plain.stats.num_steps,
            throw=False,
        )
    assert rounded.stats.nfe_forward <= plain.stats.nfe_forward + 6
    assert blind.stats.nfe_forward > 2 * plain.stats.nfe_forward


@each_field
def test_the_result_is_off_by_a_few_roundings_at_most(name: str) -> None:
    f, y0 = make(name)
    exact = solve(f, y0, rtol=1e-6, atol=1e-7).y1
    tight = {"rtol": TOLERANCE, "atol": TOLERANCE}
    with torch.autocast("cpu", torch.bfloat16):
        rounded = solve(f, y0, **tight).y1
        blind = solve(f, y0, controller=PIDController(noise=0.0, **tight)).y1
    off = lambda y: float((y - exact).abs().max() / exact.abs().max())
    assert off(rounded) < 2 * BF16_ROUNDING
    assert off(rounded) < 2 * off(blind)


def test_a_given_noise_serves_a_field_that_rounds_by_itself() -> None:
    f, y0 = make("perceptron")
    rounding = lambda t, y: f(t, y).bfloat16().float()
    tight = {"rtol": 1e-6, "atol": 1e-6}
    blind = solve(rounding, y0, **tight).stats.nfe_forward
    told = solve(rounding, y0, controller=PIDController(noise=2**-8, **tight)).stats.nfe_forward
    plain = solve(f, y0, **tight).stats.nfe_forward
    assert told <= plain + 6 < blind / 2


def test_a_large_error_is_seen_through_the_noise() -> None:
    f = lambda t, y: 40 * torch.cos(40 * t) * y.bfloat16().float()
    y0 = torch.ones(4, 3)
    controller = PIDController(rtol=1e-2, atol=1e-2, noise=2**-8)
    stats = solve(f, y0, controller=controller).stats
    assert stats.num_steps > 15


def test_without_autocast_nothing_is_left_out() -> None:
    f, y0 = make("perceptron")
    plain = solve(f, y0, rtol=TOLERANCE, atol=TOLERANCE)
    zero = solve(f, y0, controller=PIDController(rtol=TOLERANCE, atol=TOLERANCE, noise=0.0))
    assert torch.equal(plain.y1, zero.y1) and plain.stats == zero.stats


def test_a_full_precision_field_under_autocast_is_still_solved_well() -> None:
    """Autocast is a guess at the noise of f: elementwise operations do not round under it."""
    y0 = torch.ones(4, 3, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        y1 = solve(lambda t, y: -y, y0, rtol=1e-6, atol=1e-6).y1
        exact = solve(
            lambda t, y: -y, y0, controller=PIDController(rtol=1e-6, atol=1e-6, noise=0.0)
        ).y1
    e = torch.exp(torch.tensor(-1.0, dtype=torch.float64))
    assert float((y1 - e).abs().max()) < BF16_ROUNDING
    assert float((exact - e).abs().max()) < 1e-5
