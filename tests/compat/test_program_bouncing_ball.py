"""A user's program: a bouncing ball, whose bounces are events with gradients."""

import math
from types import ModuleType

import pytest
import torch
from problems import DOUBLE
from torch import Tensor, nn

from odevision.compat import torchdiffeq as drop_in

NAMES = ["gravity", "radius", "height", "speed", "absorption"]


class BouncingBall(nn.Module):
    """A ball that loses a part of its speed whenever its surface meets the ground."""

    def __init__(self, odeint: object) -> None:
        super().__init__()
        number = lambda x: nn.Parameter(torch.tensor([x], dtype=DOUBLE))
        self.gravity, self.radius = number(9.8), number(0.2)
        self.height, self.speed, self.absorption = number(10.0), number(1.5), number(0.2)
        self.odeint = odeint

    def forward(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        _, speed, radius = state
        return speed, -self.gravity, torch.zeros_like(radius)

    def touches(self, t: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        height, _, radius = state
        return height - radius

    def bounces(self, library: ModuleType, num: int) -> list[Tensor]:
        """Times of the first bounces. The radius is a part of the state, so that torchdiffeq finds
        its gradient too."""
        t, state, found = torch.zeros(1, dtype=DOUBLE), (self.height, self.speed, self.radius), []
        for _ in range(num):
            t, path = library.odeint_event(
                self,
                state,
                t,
                event_fn=self.touches,
                atol=1e-8,
                rtol=1e-8,
                odeint_interface=self.odeint,
            )
            found.append(t)
            height, speed, radius = (part[-1] for part in path)
            # A little above the ground, so that the event is not met at once.
            state = (height + 1e-7, -speed * (1 - self.absorption), radius)
        return found

    def closed_form(self, num: int) -> list[Tensor]:
        drop = self.height - self.radius
        landing = (self.speed**2 + 2 * self.gravity * drop).sqrt()
        found = [(self.speed + landing) / self.gravity]
        for _ in range(num - 1):
            landing = landing * (1 - self.absorption)
            found.append(found[-1] + 2 * landing / self.gravity)
        return found


def program(library: ModuleType, interface: str) -> tuple[BouncingBall, list[Tensor]]:
    ball = BouncingBall(getattr(library, interface))
    return ball, ball.bounces(library, 4)


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
def test_a_ball_bounces_when_mechanics_says(library: ModuleType, interface: str) -> None:
    ball, found = program(library, interface)
    expected = torch.cat(ball.closed_form(4)).tolist()
    assert [t.item() for t in found] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
def test_bounces_have_the_gradients_of_mechanics(library: ModuleType, interface: str) -> None:
    ball, found = program(library, interface)
    parameters = [getattr(ball, name) for name in NAMES]
    ours = torch.autograd.grad(found[-1].sum(), parameters)
    expected = torch.autograd.grad(ball.closed_form(4)[-1], parameters)
    assert [x.item() for x in ours] == pytest.approx([x.item() for x in expected], rel=1e-4)


def test_the_path_between_two_bounces_starts_and_ends_at_them() -> None:
    ball, found = program(drop_in, "odeint")
    t = torch.cat([torch.zeros(1, dtype=DOUBLE), found[0].reshape(1)])
    heights, speeds, _ = drop_in.odeint(ball, (ball.height, ball.speed, ball.radius), t)
    assert heights[-1].item() == pytest.approx(0.2, abs=1e-6)
    assert speeds[-1].item() == pytest.approx(-math.sqrt(1.5**2 + 2 * 9.8 * 9.8), rel=1e-6)
    # The end of the path moves with the bounce, and stays on the ground.
    (slope,) = torch.autograd.grad(heights[-1].sum(), ball.height)
    assert slope.item() == pytest.approx(0.0, abs=1e-6)


def test_gravity_is_learned_from_the_time_of_a_bounce() -> None:
    ball = BouncingBall(drop_in.odeint)
    target = math.sqrt(2 * 9.8 / 4.0)  # of a drop from rest under a gravity of 4
    with torch.no_grad():
        ball.speed.zero_()
    for _ in range(2):  # Newton's iteration: gravity is linear in 1 / t^2, the first step exact
        (t,) = ball.bounces(drop_in, 1)
        (slope,) = torch.autograd.grad(t**-2, ball.gravity)
        with torch.no_grad():
            ball.gravity -= (t**-2 - target**-2) / slope
    assert ball.gravity.item() == pytest.approx(4.0, rel=1e-5)
