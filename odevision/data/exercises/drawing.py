"""How a camera sees limbs in front of a ground: colors, places on the screen, what covers what."""

import dataclasses
import math
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from odevision.data.exercises.body import Limb
from odevision.data.exercises.draws import Curve, Draws

Places = Float[Tensor, "frames 3"]
"""On the screen, in pixels from the upper left corner to the right and down, and how far behind the
person's middle, in meters."""

_GRAIN = ((3, 0.3), (8, 0.2), (24, 0.12), (48, 0.06))
"""Patches of the ground along a side, and how much their brightness differs."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A camera, and how it is held.

    Args:
        azimuth: from where it looks, in radians; at pi / 2 the person faces it.
        elevation: how far from above, in radians.
        distance: to the person, in meters.
        aim: height that is seen in the middle, in meters.
        scale: pixels a meter.
        offset: of the person from the middle, in pixels to the right and down.
        shift: of the whole picture, likewise, of each frame.
        turn: of the whole picture, in radians.
        zoom: of the whole picture.
        size: height and width of a frame, in pixels.
    """

    azimuth: float
    elevation: float
    distance: float
    aim: float
    scale: float
    offset: tuple[float, float]
    shift: tuple[Curve, Curve]
    turn: Curve
    zoom: Curve
    size: tuple[int, int]


def draw_view(
    draws: Draws,
    seconds: Curve,
    height: float,
    size: tuple[int, int],
    *,
    seen_from: Literal["anywhere", "front", "side"],
    close: bool,
) -> View:
    """A camera somewhere around a person; most are held by hand.

    Args:
        draws: gives all that differs.
        seconds: times of the frames.
        height: of the person, in meters.
        size: height and width of a frame, in pixels.
        seen_from: the side of the person that it looks at, more or less.
        close: whether only the upper half of the person is to be seen, more or less.
    """
    rows, columns = size
    azimuth = {
        "anywhere": draws.between(0, 2 * math.pi),
        "front": math.pi / 2 + draws.between(-0.8, 0.8),
        "side": draws.one_of((0.0, math.pi)) + draws.between(-0.9, 0.9),
    }[seen_from]
    elevation = draws.between(-0.1, 0.35) if draws.chance(0.8) else draws.between(0.35, 0.7)
    pixel = rows / 48
    shaking = pixel * draws.one_of((0.0, 0.0, 1.0, 1.0, 4.0)) * draws.between(0.3, 1.2)
    rates = draws.one_of(((0.1, 0.5), (0.3, 1.5)))
    pan, zoom = (draws.between(-size, size) * draws.chance(0.15) for size in (1.2 * pixel, 0.05))
    right, down = (shaking * draws.drift(seconds, *rates, waves=4) for _ in range(2))
    small = shaking / pixel
    aim = draws.between(0.62, 0.8) if close else draws.between(0.42, 0.58)
    scale = draws.between(0.8, 1.7) if close else draws.between(0.55, 1.1)
    return View(
        azimuth=azimuth,
        elevation=elevation,
        distance=draws.between(2.5, 8),
        aim=aim * height * math.cos(elevation),
        scale=scale * rows / height,
        offset=(draws.between(-0.22, 0.22) * columns, draws.between(-0.08, 0.08) * rows),
        shift=(right + pan * (seconds - 2.5), down),
        turn=0.01 * small * draws.drift(seconds, *rates, waves=2),
        zoom=torch.exp(
            0.02 * small * draws.drift(seconds, *rates, waves=2) + zoom * (seconds - 2.5)
        ),
        size=size,
    )


def draw_clip(
    draws: Draws, limbs: list[Limb], view: View, seconds: Curve
) -> UInt8[Tensor, "frames 3 height width"]:
    """Draw each frame: the ground, then the limbs, of which the nearer cover the farther.

    Args:
        draws: gives colors, patterns, light and noise.
        limbs: what is seen.
        view: from where.
        seconds: times of the frames.

    Returns:
        The frames.
    """
    image = _ground(draws, view)
    colors = _colors(draws, {limb.part for limb in limbs})
    contrast = draws.between(0, 0.45)  # of the patterns on clothes
    nearest = torch.full((len(image), *view.size), math.inf)
    for limb in limbs:
        _draw_limb(image, nearest, limb, view, colors[limb.part], _Pattern(draws, contrast))
    return _as_filmed(draws, image, seconds)


class _Pattern:
    """Waves along and across a limb.

    Args:
        draws: gives how many, and how strong.
        contrast: most that they change the brightness.
    """

    def __init__(self, draws: Draws, contrast: float) -> None:
        """Draw them."""
        along, across, self.shift_along, self.shift_across, strength = draws.uniform(5).tolist()
        self.along, self.across = 14 * along, 3 * across
        self.strength = contrast * strength

    def brightness(self, along: Tensor, across: Tensor) -> Tensor:
        """Factor on the brightness: 0 to 1 along the limb, -1 to 1 across it."""
        waves = torch.sin(self.along * along + 6 * self.shift_along)
        return 1 + self.strength * waves * torch.cos(self.across * across + 6 * self.shift_across)


def _draw_limb(
    image: Float[Tensor, "frames 3 height width"],
    nearest: Float[Tensor, "frames height width"],
    limb: Limb,
    view: View,
    color: Float[Tensor, " 3"],
    pattern: _Pattern,
) -> None:
    """Draw a limb into `image` where it is in front of what `nearest` tells, and bring both up."""
    start, start_radius = _on_screen(limb.start, limb.radius, view)
    end, end_radius = _on_screen(limb.end, limb.radius, view)
    margin = float(torch.maximum(start_radius, end_radius).max()) + 1
    box = _box(start, end, margin, view.size)
    if box is None:
        return
    rows, columns = box
    x = torch.arange(columns.start, columns.stop) + 0.5 - start[:, 0, None, None]
    y = (torch.arange(rows.start, rows.stop) + 0.5)[:, None] - start[:, 1, None, None]
    along_x, along_y = (end - start)[:, :2, None, None].unbind(1)
    squared = (along_x.square() + along_y.square()).clamp(min=1e-4)
    along = ((x * along_x + y * along_y) / squared).clamp(0, 1)
    radius = torch.lerp(start_radius[:, None, None], end_radius[:, None, None], along)
    radius = radius.clamp(min=0.35)
    distance = torch.hypot(x - along * along_x, y - along * along_y)
    across = (y * along_x - x * along_y) / squared.sqrt() / radius
    roundness = 0.25 * (distance / radius).clamp(max=1).square()
    light = pattern.brightness(along, across) - roundness
    depth = ((start[:, 2] + end[:, 2]) / 2)[:, None, None]
    before = nearest[:, rows, columns]
    cover = torch.where(depth < before, (radius - distance + 0.5).clamp(0, 1), 0.0)
    before.copy_(torch.where(cover > 0.5, depth, before))
    image[:, :, rows, columns].lerp_(color[:, None, None] * light[:, None], cover[:, None])


def _on_screen(point: Tensor, radius: float, view: View) -> tuple[Places, Curve]:
    """Where the camera sees a point, and a radius in pixels."""
    forward, left, up = point.unbind(1)
    sine, cosine = math.sin(view.azimuth), math.cos(view.azimuth)
    right, away = forward * cosine + left * sine, left * cosine - forward * sine
    sine, cosine = math.sin(view.elevation), math.cos(view.elevation)
    height, away = up * cosine - away * sine, away * cosine + up * sine
    # What is farther is smaller.
    pixels = view.scale * view.distance / (view.distance + away).clamp(min=0.8)
    x, y = right * pixels + view.offset[0], (view.aim - height) * pixels + view.offset[1]
    sine, cosine = view.turn.sin(), view.turn.cos()
    middle = view.size[1] / 2, view.size[0] / 2
    place = torch.stack(
        [
            view.zoom * (cosine * x - sine * y) + view.shift[0] + middle[0],
            view.zoom * (sine * x + cosine * y) + view.shift[1] + middle[1],
            away,
        ],
        1,
    )
    return place, radius * pixels * view.zoom


def _box(
    start: Places, end: Places, margin: float, size: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Rows and columns within which a limb is in all frames; None if it is never seen."""
    both = torch.cat([start, end])
    left, top = (max(0, math.floor(value - margin)) for value in both[:, :2].amin(0).tolist())
    right, bottom = (math.ceil(value + margin) for value in both[:, :2].amax(0).tolist())
    bottom, right = min(size[0], bottom), min(size[1], right)
    return None if top >= bottom or left >= right else (slice(top, bottom), slice(left, right))


def _ground(draws: Draws, view: View) -> Float[Tensor, "frames 3 height width"]:
    """Patches, a floor and boxes, moved as the camera moves."""
    rows, columns = view.size
    base = 0.2 + 0.6 * draws.uniform(3, 1, 1)
    ground = base.expand(3, 2 * rows, 2 * columns).clone()
    for patches, amount in _GRAIN:
        grain = draws.normal(1, 3, patches, patches) * draws.between(0, amount)
        grain = 0.7 * grain.mean(1, keepdim=True) + 0.3 * grain
        ground += F.interpolate(grain, ground.shape[1:], mode="bicubic", align_corners=False)[0]
    if draws.chance(0.7):
        floor = rows + int(draws.between(0, 0.5) * rows)
        ground[:, floor:] = 0.3 * ground[:, :1, :1] + 0.7 * base * draws.between(0.4, 1.4)
    for _ in range(int(draws.between(0, 9))):
        top, left = (int(draws.between(0, 1.9) * side) for side in view.size)
        height, width = (int(draws.between(0.05, 0.7) * rows) for _ in range(2))
        box = ground[:, top : top + height, left : left + width]
        box.lerp_(0.8 * draws.uniform(3, 1, 1), 0.7)
    x = torch.arange(columns)[None, None, :] + 0.5 - columns / 2 - view.shift[0][:, None, None]
    y = torch.arange(rows)[None, :, None] + 0.5 - rows / 2 - view.shift[1][:, None, None]
    sine = (view.turn.sin() / view.zoom)[:, None, None]
    cosine = (view.turn.cos() / view.zoom)[:, None, None]
    grid = torch.stack([(cosine * x + sine * y) / columns, (cosine * y - sine * x) / rows], 3)
    many = ground[None].expand(len(grid), -1, -1, -1)
    return F.grid_sample(many, grid, padding_mode="reflection", align_corners=False)


def _colors(draws: Draws, parts: set[str]) -> dict[str, Float[Tensor, " 3"]]:
    """One for each part; some people wear shorts, or no shirt."""

    def color() -> Tensor:
        return draws.uniform(3) * draws.between(0.3, 1)

    skin = torch.tensor([0.85, 0.65, 0.5]) * draws.between(0.35, 1.1)
    shirt = skin if draws.chance(0.15) else color()
    trousers = color()
    colors = {
        "skin": skin,
        "shirt": shirt,
        "trousers": trousers,
        "sleeves": shirt if draws.chance(0.7) else skin,
        "forearms": shirt if draws.chance(0.25) else skin,
        "shins": trousers if draws.chance(0.55) else skin,
        "shoes": color(),
        "hair": 0.6 * color() if draws.chance(0.6) else skin,
    }
    for part in sorted(parts - colors.keys()):
        bright = 0.4 if part.startswith("ball") else 0.0
        colors[part] = (color() + bright).clamp(max=1)
    return colors


def _as_filmed(
    draws: Draws, image: Float[Tensor, "frames 3 height width"], seconds: Curve
) -> UInt8[Tensor, "frames 3 height width"]:
    """Exposure, blur and noise, and for some the black bars of a wide film."""
    image = image * draws.between(0.7, 1.2) + draws.between(-0.1, 0.1)
    if draws.chance(0.3):
        image = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    # One picture of noise, rolled by another way in each frame, so that a frame is always the same.
    noise = draws.between(0, 0.02) * draws.normal(*image.shape[1:])
    rolls = [(int(97 * 64 * time) % 89, int(61 * 64 * time) % 83) for time in seconds.tolist()]
    image = image + torch.stack([noise.roll(roll, (1, 2)) for roll in rolls])
    if draws.chance(0.25):
        bar = int(draws.between(0.06, 0.19) * image.shape[2])
        image[:, :, :bar] = image[:, :, image.shape[2] - bar :] = 0
    return (255 * image.clamp(0, 1)).round().to(torch.uint8)
