"""`motion`: clips made here, whose class is only in how things move, never in a single frame.

A flag on a textured ground moves, turns, or swells and flashes in turn, for as long as the clip
lasts. Place, angle, size, brightness, colors and ground are random and alike in all classes, so a
frame by itself tells nothing. Slow is told from fast by the time between the frames alone: nothing
else in a clip has a length of its own, and one of so many frames lasts as long as the gaps say.
"""

import dataclasses
import math
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from odevision.data.clip_sampling import ClipSampling, sample_clip
from odevision.data.made_clips import MadeClips, Split, made_clips
from odevision.data.video_frame import Frame
from odevision.data.video_writer import write_video

MOTION_CLASSES: tuple[str, ...] = (
    "left-slow",
    "left-fast",
    "right-slow",
    "right-fast",
    "counterclockwise-slow",
    "counterclockwise-fast",
    "clockwise-slow",
    "clockwise-fast",
    "swell-then-flash",
    "flash-then-swell",
)

DURATION_SECONDS = 4.0
FRAMES_PER_SECOND = 64
"""Native rate; clips take a part of these frames."""

MOTION_SIZE = 32
"""Height and width of a frame, in pixels."""

NUM_MOTION = {"train": 4_000, "test": 1_000}
"""Clips of each official split."""

_SHIFT_SPEED = {"slow": (0.15, 0.25), "fast": (0.35, 0.55)}
"""Widths of the frame a second."""

_TURN_SPEED = {"slow": (40.0, 70.0), "fast": (110.0, 160.0)}
"""Degrees a second."""

_PULSE_SECONDS = (1.0, 1.6)
"""From one swelling to the next."""

_SIDE, _SWELLING = 0.3, 0.6


class MotionSet(MadeClips):
    """A split of `motion`; a `ClipSource`. Clips are made when asked for."""

    name: str = "motion"
    class_names: tuple[str, ...] = MOTION_CLASSES
    num_frames = round(DURATION_SECONDS * FRAMES_PER_SECOND)
    frames_per_second = FRAMES_PER_SECOND

    def frames(
        self, index: int, chosen: Int64[Tensor, " chosen"]
    ) -> UInt8[Tensor, "chosen 3 height width"]:
        """Make some frames of a clip."""
        scene = draw_scene(int(self.labels[index]), self.seed(index))
        return render(scene, self.seconds(index)[chosen].float())


def load_motion(
    split: Split,
    *,
    validation_fraction: float = 0.1,
    limit: int | None = None,
) -> MotionSet:
    """Return a split.

    Args:
        split: "train" and "validation" divide the 4,000 training clips; "test" has 1,000.
        validation_fraction: Share of the training clips, the last of them, for validation, in
            (0, 1).
        limit: At most this many clips.

    Raises:
        ValueError: If the fraction is out of range.
    """
    numbers = made_clips(split, NUM_MOTION, validation_fraction=validation_fraction, limit=limit)
    return MotionSet(split, numbers)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """All that a clip shows.

    Args:
        place: Of the flag's middle at second 0, x before y, in widths of the frame.
        velocity: In widths a second, to the right.
        angle: Of the flag at second 0, in radians.
        turning: In radians a second; clockwise on the screen, where y points down.
        phase: Of its pulse at second 0, in radians: at 0 it is largest, at pi / 2 brightest.
        pulsing: In radians a second; above 0 it flashes a quarter of a pulse after it swells, below
            0 as long before.
        color: Of the flag, 0 to 1.
        ground: The picture behind it, 0 to 1.
    """

    place: Float[Tensor, "2"]
    velocity: float
    angle: float
    turning: float
    phase: float
    pulsing: float
    color: Float[Tensor, "3"]
    ground: Float[Tensor, "3 height width"]


def draw_scene(label: int, seed: int) -> Scene:
    """Draw a random scene of a class.

    Args:
        label: Index into `MOTION_CLASSES`.
        seed: Of everything in it.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(10, generator=generator).tolist()
    kind, _, speed = MOTION_CLASSES[label].partition("-")

    def between(limits: tuple[float, float], u: float) -> float:
        return limits[0] + (limits[1] - limits[0]) * u

    velocity = turning = pulsing = 0.0
    if kind in ("left", "right"):
        velocity = between(_SHIFT_SPEED[speed], uniform[0]) * (1 if kind == "right" else -1)
    elif kind in ("clockwise", "counterclockwise"):
        degrees = between(_TURN_SPEED[speed], uniform[0])
        turning = math.radians(degrees) * (1 if kind == "clockwise" else -1)
    else:
        period = between(_PULSE_SECONDS, uniform[0])
        pulsing = 2 * math.pi / period * (1 if kind == "swell" else -1)
    coarse = torch.rand(1, 3, 5, 5, generator=generator)
    ground = F.interpolate(coarse, (MOTION_SIZE, MOTION_SIZE), mode="bicubic", align_corners=False)
    return Scene(
        place=torch.tensor(uniform[4:6]),
        velocity=velocity,
        angle=2 * math.pi * uniform[6],
        turning=turning,
        phase=2 * math.pi * uniform[1],
        pulsing=pulsing,
        color=torch.tensor([between((0.5, 0.9), u) for u in uniform[7:10]]),
        ground=0.5 * ground[0].clamp(0, 1),
    )


def render(
    scene: Scene, seconds: Float[Tensor, " frames"]
) -> UInt8[Tensor, "frames 3 height width"]:
    """Draw a scene at some times.

    Args:
        scene: What to draw.
        seconds: The times.
    """
    pulse = scene.phase + scene.pulsing * seconds
    swelling, flash = 0.5 + 0.5 * pulse.cos(), (0.5 + 0.5 * pulse.sin())[:, None, None, None]
    at = (torch.arange(MOTION_SIZE) + 0.5) / MOTION_SIZE
    # What leaves on the right comes in on the left: the place tells nothing at any time.
    x = at[None, None, :] - (scene.place[0] + scene.velocity * seconds)[:, None, None]
    y = (at - scene.place[1])[None, :, None]
    x, y = x - x.round(), y - y.round()
    angle = (scene.angle + scene.turning * seconds)[:, None, None]
    cosine, sine = angle.cos(), angle.sin()
    side = _SIDE * (1 + _SWELLING * swelling)[:, None, None]
    across, along = (cosine * x + sine * y) / side, (cosine * y - sine * x) / side
    # A pole with cloth on one side of its upper end: no turn brings it onto itself.
    pole = _box(across, along, (0.0, 0.0), (0.11, 0.55))
    cloth = _box(across, along, (0.3, -0.3), (0.3, 0.25))
    distance = torch.minimum(pole, cloth) * side * MOTION_SIZE
    inside = (0.5 - distance).clamp(0, 1)[:, None]
    color = scene.color[:, None, None] * (1 - flash) + flash
    image = scene.ground * (1 - inside) + color * inside
    return (255 * image).round().to(torch.uint8)


def _box(
    x: Float[Tensor, "frames height width"],
    y: Float[Tensor, "frames height width"],
    middle: tuple[float, float],
    half: tuple[float, float],
) -> Float[Tensor, "frames height width"]:
    """Distance to a rectangle, negative inside."""
    right, down = (x - middle[0]).abs() - half[0], (y - middle[1]).abs() - half[1]
    outside = torch.hypot(right.clamp(min=0), down.clamp(min=0))
    return outside + torch.maximum(right, down).clamp(max=0)


def write_motion_videos(
    folder: str | Path,
    *,
    split: Literal["train", "test"] = "test",
    num: int = 100,
    sampling: ClipSampling | None = None,
    quality: int = 12,
) -> list[Path]:
    """Write clips as real MP4 files FOLDER/CLASS/motion_00000.mp4, for tests and demonstrations.

    Args:
        folder: Where to; made if missing.
        split: Whose clips.
        num: How many, the first ones; ten make one of each class.
        sampling: Which frames a file has; by default about 16 a second, of which a quarter at
            random is missing, so that the gaps differ.
        quality: As for `write_video`.

    Returns:
        The files.
    """
    sampling = sampling or ClipSampling(kind="irregular", num_frames=None, rate=16.0, drop=0.25)
    motion = MotionSet(split, torch.arange(min(num, NUM_MOTION[split])))
    written = []
    for index in range(len(motion)):
        seconds = motion.seconds(index)
        generator = torch.Generator().manual_seed(index)
        chosen = sample_clip(seconds, sampling, generator)
        images = motion.frames(index, chosen)
        frames = [
            Frame(image=image, seconds=float(time))
            for image, time in zip(images, seconds[chosen], strict=True)
        ]
        name = MOTION_CLASSES[int(motion.labels[index])]
        file = Path(folder) / name / f"motion_{index:05}.mp4"
        written.append(write_video(file, frames, quality=quality))
    return written
