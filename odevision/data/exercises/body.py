"""A body of limbs: where each of them is, from what the hips, the feet and the hands do."""

import dataclasses
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.data.exercises.draws import Curve, Draws, Number

Points = Float[Tensor, "frames 3"]
"""A place in each frame, in meters: forward, to the left and up, as the person faces."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Body:
    """Lengths of a person, in meters.

    Args:
        height: of the whole person.
        fatness: factor on how thick the limbs are, without a unit.
        hip: half the distance of the hips.
        shoulder: likewise.
        thigh: from hip to knee.
        shank: from knee to ankle.
        torso: from the hips to the neck.
        upper_arm: from shoulder to elbow.
        forearm: from elbow to hand.
        ankle: its height over the ground.
    """

    height: float
    fatness: float
    hip: float
    shoulder: float
    thigh: float
    shank: float
    torso: float
    upper_arm: float
    forearm: float
    ankle: float

    @property
    def leg(self) -> float:
        """Thigh and shank."""
        return self.thigh + self.shank

    @property
    def arm(self) -> float:
        """Both of its parts."""
        return self.upper_arm + self.forearm


def draw_body(draws: Draws) -> Body:
    """A person, in usual proportions."""
    height = draws.between(1.6, 1.9)
    return Body(
        height=height,
        fatness=draws.between(0.85, 1.25),
        hip=draws.between(0.05, 0.065) * height,
        shoulder=draws.between(0.11, 0.14) * height,
        thigh=0.245 * height,
        shank=0.25 * height,
        torso=0.29 * height,
        upper_arm=0.18 * height,
        forearm=0.19 * height,
        ankle=0.04 * height,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stance:
    """What the hips and the legs do.

    Args:
        pelvis: its middle.
        lean: of the torso, forward, in radians.
        turn: of the torso about itself, to the left, in radians.
        feet: ankles, the left one first.
        knees: where they point to, the left one first.
    """

    pelvis: Points
    lean: Curve
    turn: Curve
    feet: tuple[Points, Points]
    knees: tuple[Points, Points]


class Trunk:
    """The torso in space, from which shoulders, arms and head go on.

    Args:
        body: whose.
        stance: how it is held.
    """

    def __init__(self, body: Body, stance: Stance) -> None:
        """Find its directions."""
        self.pelvis = stance.pelvis
        zero = torch.zeros_like(stance.lean)
        ahead = torch.stack([stance.turn.cos(), stance.turn.sin(), zero], 1)
        upright = points(stance.lean, 0, 0, 1)
        sine, cosine = stance.lean.sin()[:, None], stance.lean.cos()[:, None]
        self.left = torch.stack([-stance.turn.sin(), stance.turn.cos(), zero], 1)
        self.spine, self.front = sine * ahead + cosine * upright, cosine * ahead - sine * upright
        self.ahead, self.upright = ahead, upright
        self.neck = self.pelvis + body.torso * self.spine
        self.head = self.neck + 0.085 * body.height * _unit(self.spine + 0.3 * upright)
        self.hips = self.pair(self.pelvis, 0, body.hip, 0)
        self.shoulders = self.pair(self.neck, 0, body.shoulder, -0.03)

    def at(
        self, origin: Points, front: Curve | Number, left: Curve | Number, up: Curve | Number
    ) -> Points:
        """A place so far in front of another, to its left and along the spine, as the torso is."""
        parts = points(self.pelvis[:, 0], front, left, up)
        return (
            origin
            + parts[:, :1] * self.front
            + parts[:, 1:2] * self.left
            + parts[:, 2:] * self.spine
        )

    def pair(
        self, origin: Points, front: Number, aside: Number, up: Number
    ) -> tuple[Points, Points]:
        """Two such places, to the left and to the right."""
        return self.at(origin, front, aside, up), self.at(origin, front, -aside, up)


class Limb(NamedTuple):
    """A thing with round ends, from a point to another.

    Attributes:
        start: one end.
        end: the other.
        radius: in meters.
        part: what it is; things of one part have one color.
    """

    start: Points
    end: Points
    radius: float
    part: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Arms:
    """What the arms do, and what they hold.

    Args:
        hands: the left one first.
        elbows: where they point to, the left one first.
        things: what is drawn beside the person.
    """

    hands: tuple[Points, Points]
    elbows: tuple[Points, Points]
    things: list[Limb] = dataclasses.field(default_factory=list)


def limbs(body: Body, stance: Stance, trunk: Trunk, arms: Arms) -> list[Limb]:
    """All parts of a person, and what is with it."""
    thick = body.fatness * body.height
    neck, head = trunk.neck, trunk.head
    back = trunk.at(head, -0.015, 0, 0.03)
    found = [
        Limb(trunk.pelvis, trunk.at(neck, 0, 0, -0.1), 0.075 * thick, "shirt"),
        Limb(*trunk.pair(neck, 0, 0.8 * body.shoulder, 0), 0.045 * thick, "shirt"),
        Limb(*trunk.hips, 0.06 * thick, "trousers"),
        Limb(head, trunk.at(head, 0, 0, 0.03), 0.05 * body.height, "skin"),
        Limb(back, back, 0.048 * body.height, "hair"),
    ]
    toes = 0.13 * body.height * _unit(points(stance.lean, 1, 0, -0.1))
    for side in (0, 1):
        hip, shoulder = trunk.hips[side], trunk.shoulders[side]
        knee, ankle = bend(hip, stance.feet[side], body.thigh, body.shank, stance.knees[side])
        elbow, hand = bend(
            shoulder, arms.hands[side], body.upper_arm, body.forearm, arms.elbows[side]
        )
        found += [
            Limb(hip, knee, 0.047 * thick, "trousers"),
            Limb(knee, ankle, 0.03 * thick, "shins"),
            Limb(ankle, ankle + toes, 0.02 * body.height, "shoes"),
            Limb(shoulder, elbow, 0.028 * thick, "sleeves"),
            Limb(elbow, hand, 0.023 * thick, "forearms"),
        ]
    return found + arms.things


def bend(
    start: Points, end: Points, upper: float, lower: float, towards: Points
) -> tuple[Points, Points]:
    """Where the joint between two bones is, and where they end.

    Args:
        start: of the upper bone.
        end: where the lower one should end; what is out of reach is come near to.
        upper: length.
        lower: length.
        towards: where the joint points to.

    Returns:
        The joint and the end.
    """
    way = end - start
    distance = way.norm(dim=1, keepdim=True).clamp(min=1e-4)
    direction = way / distance
    distance = distance.clamp(abs(upper - lower) + 1e-3, 0.999 * (upper + lower))
    along = (upper**2 - lower**2 + distance.square()) / (2 * distance)
    across = (upper**2 - along.square()).clamp(min=0).sqrt()
    out = _unit(towards - (towards * direction).sum(1, keepdim=True) * direction)
    return start + along * direction + across * out, start + distance * direction


def points(
    like: Curve, forward: Curve | Number, left: Curve | Number, up: Curve | Number
) -> Points:
    """One place a frame.

    Args:
        like: any curve, for the number of frames.
        forward: in meters.
        left: likewise.
        up: likewise.
    """
    parts = (forward, left, up)
    return torch.stack([torch.as_tensor(part).to(like).expand_as(like) for part in parts], 1)


def mirrored(
    like: Curve, forward: Curve | Number, aside: Curve | Number, up: Curve | Number
) -> tuple[Points, Points]:
    """Two places a frame, to the left and to the right."""
    return points(like, forward, aside, up), points(like, forward, -aside, up)


def _unit(vectors: Points) -> Points:
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6)
