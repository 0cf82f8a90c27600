"""What the arms do in an exercise: hold a bar, hang, point ahead, throw balls, punch."""

import math

import torch

from odevision.data.exercises.body import Arms, Body, Limb, Points, Trunk, mirrored
from odevision.data.exercises.draws import Curve, Draws


def held_arms(style: str, draws: Draws, way: Curve, body: Body, trunk: Trunk) -> Arms:
    """Arms that go along with legs that work.

    Args:
        style: where the hands are: "hips", "hang", "swing", "bar", "front", "chest", "over",
            "guard" or "head".
        draws: gives what differs from person to person.
        way: how far the exercise is, 0 to 1.
        body: whose arms.
        trunk: where the shoulders are.
    """
    neck = trunk.neck
    outward, down = mirrored(way, 0.2, 1, 0), mirrored(way, 0, 0.6, -1)
    if style == "hips":
        return Arms(hands=trunk.pair(trunk.pelvis, 0.05, body.hip + 0.08, 0.12), elbows=outward)
    if style in ("hang", "swing"):
        angle = way * draws.between(0, 0.6) if style == "swing" else torch.zeros_like(way)
        hands = _swung(trunk, body, angle, apart=0.06)
        half, has_weights = 0.12 * trunk.ahead, draws.chance(0.5)
        things = [Limb(hand - half, hand + half, 0.05, "weight") for hand in hands if has_weights]
        return Arms(hands=hands, elbows=mirrored(way, -1, 0.3, 0), things=things)
    if style == "bar":
        length, radius = draws.between(0.5, 1.1), draws.between(0.02, 0.1)
        ends = trunk.pair(neck, -0.08, length, 0.02)
        things = [Limb(*ends, radius, "bar")]
        if draws.chance(0.4):
            size, inner = draws.between(0.1, 0.22), trunk.pair(neck, -0.08, 0.9 * length, 0.02)
            things += [Limb(ends[side], inner[side], size, "weight") for side in (0, 1)]
        hands = trunk.pair(neck, 0.02, body.shoulder + 0.12, 0.02)
        return Arms(hands=hands, elbows=down, things=things)
    if style == "front":
        angle = 0.3 + 1.2 * way if draws.chance(0.6) else torch.full_like(way, 1.4)
        return Arms(hands=_swung(trunk, body, angle), elbows=down)
    if style == "chest":  # crossed
        return Arms(hands=trunk.pair(neck, 0.15, -0.05, -0.12), elbows=outward)
    if style == "over":
        apart, radius = body.shoulder * draws.between(0.5, 1.5), draws.between(0.03, 0.12)
        hands = trunk.pair(neck, 0, apart, 0.9 * body.arm)
        things = [Limb(*hands, radius, "weight")] if draws.chance(0.5) else []
        return Arms(hands=hands, elbows=outward, things=things)
    if style == "guard":
        return Arms(hands=trunk.pair(neck, 0.2, 0.1, -0.02), elbows=down)
    assert style == "head", style
    return Arms(hands=trunk.pair(trunk.head, -0.05, 0.1, 0.02), elbows=outward)


def _swung(trunk: Trunk, body: Body, angle: Curve, *, apart: float = 0.0) -> tuple[Points, Points]:
    """Hands of long arms at an angle from hanging down, forward, in radians."""
    way = angle.sin()[:, None] * trunk.ahead - angle.cos()[:, None] * trunk.upright
    left, right = trunk.shoulders
    reach = 0.96 * body.arm * way
    return left + reach + apart * trunk.left, right + reach - apart * trunk.left


def raised_arms(draws: Draws, angle: Curve, body: Body, trunk: Trunk) -> Arms:
    """Long arms to the sides.

    Args:
        draws: gives how much they are bent.
        angle: from hanging down, in radians.
        body: whose arms.
        trunk: where the shoulders are.
    """
    reach, (left, right) = draws.between(0.85, 1) * body.arm, trunk.shoulders
    up, out = -angle.cos()[:, None] * trunk.upright, angle.sin()[:, None] * trunk.left
    ahead = 0.05 * trunk.ahead
    hands = left + reach * (up + out) + ahead, right + reach * (up - out) + ahead
    return Arms(hands=hands, elbows=mirrored(angle, -0.3, 1, 0.3))


def juggling_arms(draws: Draws, seconds: Curve, body: Body, trunk: Trunk) -> Arms:
    """Hands that circle, and balls that fly from one to the other.

    Args:
        draws: gives how many balls, how fast and how high.
        seconds: times of the frames.
        body: whose arms.
        trunk: where the shoulders are.
    """
    throws, num_balls = draws.between(2, 4.5), draws.one_of((3, 3, 3, 4, 5))  # a second
    across, height = draws.between(0.04, 0.15), draws.between(0.06, 0.3)
    apart, low, ahead = (
        draws.between(0.14, 0.24),
        draws.between(-0.38, -0.22),
        draws.between(0.22, 0.38),
    )
    phase, other_way = math.pi * throws * seconds + draws.between(0, 6), draws.one_of((-1, 1))
    right = -apart - other_way * across * phase.cos()
    hands = (
        trunk.at(trunk.neck, ahead, apart + across * phase.cos(), low + height * phase.sin()),
        trunk.at(trunk.neck, ahead, right, low - height * phase.sin()),
    )
    # From one hand to the other; in the air it is as high as it must be to last so long.
    flight = num_balls / throws
    top = 9.81 / 8 * (draws.between(0.65, 0.85) * flight) ** 2
    radius, things = draws.between(0.03, 0.06), []
    for number in range(num_balls):
        part = 2 * (seconds / (2 * flight) + number / num_balls + draws.between(0, 0.03)).frac()
        back = (part >= 1).to(part)
        part = part - back
        left = apart * (1 - 2 * part) * (1 - 2 * back)
        ball = trunk.at(trunk.neck, ahead, left, low + 4 * top * part * (1 - part))
        things.append(Limb(ball, ball, radius, f"ball {number}"))
    return Arms(hands=hands, elbows=mirrored(seconds, 0, 0.6, -1), things=things)


class Punches:
    """When each hand is out, and how far: 0 in front of the face, 1 at the bag.

    Args:
        draws: gives the rhythm, and what is left out.
        seconds: times of the frames.
    """

    def __init__(self, draws: Draws, seconds: Curve) -> None:
        """Draw a rhythm of punches that repeats after a while."""
        beat = draws.between(1.2, 3.5) * seconds + 0.3 * draws.drift(seconds, 0.2, 0.8)
        number = beat.floor().long() % 64
        is_left = draws.uniform(64) < 0.5 if draws.chance(0.5) else (torch.arange(64) % 2).bool()
        is_thrown = draws.uniform(64) < draws.between(0.6, 1)
        self.hook = (draws.uniform(64) < draws.between(0, 0.6))[number].to(seconds)
        """1 where the punch comes from the side."""
        part = (beat.frac() * draws.between(1, 1.6)).clamp(max=1)
        out = torch.sin(math.pi * part).square() * is_thrown[number]
        self.left, self.right = out * is_left[number], out * ~is_left[number]


def boxing_arms(draws: Draws, punches: Punches, body: Body, trunk: Trunk) -> Arms:
    """Fists in front of the face, and to the bag and back.

    Args:
        draws: gives how they are held.
        punches: what they do.
        body: whose arms.
        trunk: where the shoulders are.
    """
    ahead, apart, up = (
        draws.between(0.18, 0.3),
        draws.between(0.05, 0.14),
        draws.between(-0.12, 0.05),
    )
    reach, height = body.arm * draws.between(0.85, 1), draws.between(-0.12, 0.05)
    target, hands = trunk.at(trunk.neck, reach, 0, height), []
    for sign, out in ((1, punches.left), (-1, punches.right)):
        guard = trunk.at(trunk.neck, ahead, sign * apart, up)
        curve = (out * (1 - out) * punches.hook)[:, None] * sign * trunk.left
        hands.append(guard + (target - guard) * out[:, None] + curve)
    gloves = [Limb(hand, hand + 0.06 * trunk.front, 0.07, "gloves") for hand in hands]
    down = mirrored(punches.left, 0, 0.6, -1)
    return Arms(hands=(hands[0], hands[1]), elbows=down, things=gloves)
