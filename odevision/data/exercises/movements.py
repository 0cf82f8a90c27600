"""How people squat, box, juggle, do jumping jacks and lunge: hips, feet and what the arms do."""

import math
from collections.abc import Callable

import torch

from odevision.data.exercises.arms import (
    Punches,
    boxing_arms,
    held_arms,
    juggling_arms,
    raised_arms,
)
from odevision.data.exercises.body import Body, Limb, Points, Stance, Trunk, limbs, mirrored, points
from odevision.data.exercises.draws import Curve, Draws, Number, ease

Movement = Callable[[Draws, Curve, Body], list[Limb]]
"""All limbs of a person of this body at these seconds, in an exercise as drawn."""

_SQUAT_ARMS = ("front",) * 4 + ("hips", "hang", "chest", "guard", "head", "over", "swing")
_LUNGE_ARMS = ("bar",) * 4 + ("hang", "hang", "over", "over", "hips", "swing", "head", "guard")
_LUNGES = ("forward", "forward", "static", "static", "walking", "backward", "jump", "sideways")


def squat(draws: Draws, seconds: Curve, body: Body) -> list[Limb]:
    """Down on both legs and up again; a tenth of the people jump."""
    arms = draws.one_of(_SQUAT_ARMS)
    way, number = draws.repetitions(seconds, draws.between(0.25, 0.8), pause=draws.between(0, 0.4))
    if draws.chance(0.1):
        way = way * (0.6 + 0.4 * (number % 2))
    standing, depth = _standing(draws, body), draws.between(0.35, 0.62)
    wide, toes = draws.between(0.06, 0.13) * body.height, draws.between(0, 0.4)
    lift = torch.zeros_like(seconds)
    if draws.chance(0.12):
        lift = draws.between(0.3, 0.8) * (0.4 - way).clamp(min=0)
    back = draws.between(0.05, 0.2)
    stance = Stance(
        pelvis=points(seconds, -back * way, 0, body.ankle + standing * (1 - depth * way) + lift),
        lean=draws.between(0, 0.1) + draws.between(0.2, 0.9) * way,
        turn=draws.between(-0.1, 0.1) * draws.drift(seconds),
        feet=_feet(seconds, body, (0, 0), (wide, -wide), (lift, lift)),
        knees=mirrored(seconds, 1, toes, 0),
    )
    trunk = Trunk(body, stance)
    return limbs(body, stance, trunk, held_arms(arms, draws, way, body, trunk))


def box(draws: Draws, seconds: Curve, body: Body) -> list[Limb]:
    """Punches at a bag."""
    punches = Punches(draws, seconds)
    length = draws.between(0.05, 0.125) * body.height
    bounce = draws.between(0, 0.03) * torch.sin(math.pi * draws.between(2, 5) * seconds).abs()
    ahead = draws.between(0, 0.15) * draws.drift(seconds)
    left = draws.between(0, 0.2) * draws.drift(seconds)
    wide = 1.5 * body.hip
    lean = draws.between(0, 0.4) + 0.1 * draws.drift(seconds, 0.3, 1)
    if draws.chance(0.3):  # ducks now and then
        lean = lean + 0.3 * draws.drift(seconds, 0.3, 1).clamp(min=0)
    stance = Stance(
        pelvis=points(seconds, ahead, left, 0.93 * _standing(draws, body) + (body.ankle + bounce)),
        lean=lean,
        turn=draws.between(-0.1, 0.1) * draws.drift(seconds)
        + draws.between(0.1, 0.6) * (punches.right - punches.left),
        feet=_feet(
            seconds,
            body,
            (ahead + length, ahead - length),
            (left + wide, left - wide),
            (bounce, bounce),
        ),
        knees=mirrored(seconds, 1, 0.3, 0),
    )
    trunk = Trunk(body, stance)
    found = limbs(body, stance, trunk, boxing_arms(draws, punches, body, trunk))
    if draws.chance(0.95):
        distance = 1.05 * body.arm + 0.25
        swing = draws.between(0, 0.3) * draws.drift(seconds, 0.4, 1.2)
        aside = 0.05 * draws.drift(seconds)
        top = points(seconds, distance, 0, 1.35 * body.height)
        bottom = points(seconds, distance + swing, aside, draws.between(0.4, 1))
        radius = draws.between(0.15, 0.22)
        found.append(Limb(bottom, 0.25 * bottom + 0.75 * top, radius, "bag"))
    return found


def juggle(draws: Draws, seconds: Curve, body: Body) -> list[Limb]:
    """Balls in the air, and hands that throw them; some people sit, some wander about."""
    liveliness = draws.between(0.2, 1) if draws.chance(0.4) else draws.between(0, 0.2)
    ahead, left = (0.3 * liveliness * draws.drift(seconds) for _ in range(2))
    sits = draws.chance(0.15)
    hips, knees = (0.5, draws.between(0.2, 0.4)) if sits else (1.0, draws.between(0, 0.1))
    stance = Stance(
        pelvis=points(seconds, ahead, left, body.ankle + hips * _standing(draws, body)),
        lean=draws.between(0, 0.1) + 0.25 * liveliness * draws.drift(seconds),
        turn=0.8 * liveliness * draws.drift(seconds),
        feet=_feet(
            seconds,
            body,
            (ahead + knees, ahead + knees * sits),
            (left + 1.2 * body.hip, left - 1.2 * body.hip),
        ),
        knees=mirrored(seconds, 1, 0, 0.1),
    )
    trunk = Trunk(body, stance)
    return limbs(body, stance, trunk, juggling_arms(draws, seconds, body, trunk))


def jumping_jack(draws: Draws, seconds: Curve, body: Body) -> list[Limb]:
    """Arms and legs apart and together; a tenth raise the arms by half."""
    pause = 0.0 if draws.chance(0.7) else draws.between(0, 0.3)
    way, _ = draws.repetitions(seconds, draws.between(0.6, 1.6), pause=pause)
    apart = 0.6 * body.hip + draws.between(0.1, 0.22) * body.height * way
    lift = draws.between(0.02, 0.08) * torch.sin(4 * math.pi * way * (1 - way)).abs()
    standing = _standing(draws, body)
    hips = body.ankle + lift + (standing**2 - apart.square()).clamp(min=0.1).sqrt()
    lowest = draws.between(0, 0.4)
    highest = draws.between(1.2, 1.7) if draws.chance(0.1) else draws.between(2.3, 3.1)
    stance = Stance(
        pelvis=points(seconds, 0, 0, hips),
        lean=torch.full_like(seconds, draws.between(0, 0.1)),
        turn=draws.between(-0.1, 0.1) * draws.drift(seconds),
        feet=_feet(seconds, body, (0, 0), (apart, -apart), (lift, lift)),
        knees=mirrored(seconds, 1, 0.3, 0),
    )
    trunk = Trunk(body, stance)
    angle = lowest + (highest - lowest) * way
    return limbs(body, stance, trunk, raised_arms(draws, angle, body, trunk))


def lunge(draws: Draws, seconds: Curve, body: Body) -> list[Limb]:
    """One leg far ahead of the other, and down; in one of several forms."""
    arms, form = draws.one_of(_LUNGE_ARMS), draws.one_of(_LUNGES)
    way, number = draws.repetitions(seconds, draws.between(0.25, 0.7), pause=draws.between(0, 0.3))
    pelvis, feet = _lunging_legs(form, draws, seconds, way, number, body)
    stance = Stance(
        pelvis=pelvis,
        lean=draws.between(0, 0.1) + draws.between(-0.05, 0.35) * way,
        turn=draws.between(-0.1, 0.1) * draws.drift(seconds),
        feet=feet,
        knees=mirrored(seconds, 1, 0, 0),
    )
    trunk = Trunk(body, stance)
    return limbs(body, stance, trunk, held_arms(arms, draws, way, body, trunk))


def _lunging_legs(
    form: str, draws: Draws, seconds: Curve, way: Curve, number: Curve, body: Body
) -> tuple[Points, tuple[Points, Points]]:
    """Pelvis and feet."""
    step, drop = draws.between(0.35, 0.55) * body.height, draws.between(0.3, 0.48)
    wide, standing = draws.between(0.04, 0.07) * body.height, _standing(draws, body)
    takes_turns = draws.chance(0.6)  # left and right
    is_left = number % 2 == 0 if takes_turns else torch.ones_like(number, dtype=torch.bool)
    if form == "static":  # the feet stay apart, the hips go down and up
        half = step / 2 * draws.one_of((-1, 1))
        base = math.sqrt(max(standing**2 - half**2, 0.2))
        height = body.ankle + base * (1 - drop * way)
        pelvis = points(seconds, draws.between(-0.05, 0.05) * way, 0, height)
        return pelvis, _feet(seconds, body, (half, -half), (wide, -wide))
    if form == "jump":  # the feet change places in the air
        turn = torch.sin(math.pi * (draws.between(0.5, 0.9) * seconds + draws.between(0, 1)))
        apart = turn.sign() * turn.abs() ** 0.6
        air = 1 - apart.abs()
        height = body.ankle + standing * (1 - drop * apart.abs()) + 0.25 * air * (air > 0.5)
        half = apart * step / 2
        feet = _feet(seconds, body, (half, -half), (wide, -wide), (0.2 * air, 0.2 * air))
        return points(seconds, 0, 0, height), feet
    if form == "walking":  # the foot behind comes to the front, the body with it
        progress = draws.between(0.3, 0.6) * seconds + draws.between(0, 1)
        number, part = progress.floor(), progress.frac()
        is_left, moved = number % 2 == 0, ease(part / 0.45)
        moving, standing_foot = step * (number - 1 + 2 * moved), step * number
        down = torch.sin(math.pi * ((part - 0.2) / 0.8).clamp(0, 1))
        left = torch.where(is_left, moving, standing_foot)
        right = torch.where(is_left, standing_foot, moving)
        # The camera walks along, or pans after it in part.
        along = (left + right) / 2 * draws.between(0.6, 1)
        lift = 0.12 * torch.sin(math.pi * moved)
        lifts = lift * is_left, lift * ~is_left
        feet = _feet(seconds, body, (left - along, right - along), (wide, -wide), lifts)
        height = body.ankle + standing * (0.97 - drop * down)
        return points(seconds, (left + right) / 2 - along, 0, height), feet
    # A step forward, backward or aside, down, and back again.
    stepped = ease(1.8 * way)
    go = step * stepped * (-1 if form == "backward" else 1)
    lift = 0.14 * body.height * torch.sin(math.pi * stepped).clamp(min=0)
    lifts = lift * is_left, lift * ~is_left
    height = body.ankle + standing * (1 - drop * way)
    if form == "sideways":
        left, right = wide + go * is_left, wide + go * ~is_left
        feet = _feet(seconds, body, (0, 0), (left, -right), lifts)
        aside = 0.8 * go * torch.where(is_left, 1.0, -1.0)
        return points(seconds, 0, aside, height), feet
    feet = _feet(seconds, body, (go * is_left, go * ~is_left), (wide, -wide), lifts)
    return points(seconds, 0.6 * go, 0, height), feet


def _standing(draws: Draws, body: Body) -> float:
    """Height of the hips of someone who stands, over the ankles."""
    return body.leg - draws.between(0, 0.02)


def _feet(
    seconds: Curve,
    body: Body,
    ahead: tuple[Curve | Number, Curve | Number],
    left: tuple[Curve | Number, Curve | Number],
    lift: tuple[Curve | Number, Curve | Number] = (0.0, 0.0),
) -> tuple[Points, Points]:
    """Ankles, the left one first: how far ahead, to the left and over the ground each is."""
    return (
        points(seconds, ahead[0], left[0], body.ankle + lift[0]),
        points(seconds, ahead[1], left[1], body.ankle + lift[1]),
    )


MOVEMENTS: dict[str, Movement] = {
    "BodyWeightSquats": squat,
    "BoxingPunchingBag": box,
    "JugglingBalls": juggle,
    "JumpingJack": jumping_jack,
    "Lunges": lunge,
}
"""By the names that UCF101 gives them."""
