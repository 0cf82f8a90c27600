"""The motion of the camera between two frames, and the frame before as it would look without it.

A moving camera changes every pixel, as if all of the scene moved. What is left once the frame
before is laid upon the present one is what moves in the scene.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from odevision.nn.image_slopes import slopes
from odevision.types import Images

_NUM_ITERATIONS = 2
_LARGEST = 1 / 3
"""Most that a frame may move, in halves of its height; what moves further is another scene."""
_NOISE = 0.01
"""Differences of normalized brightness that say nothing, whatever the frame."""

Motion = Float[Tensor, "pairs 4"]
"""Zoom, turn (radians, clockwise), shift right and down: a point p at a time before is now at about
p + zoom p + turn p_rotated + shift. Shifts are in halves of the height, from the middle."""

Position = tuple[Float[Tensor, " columns"], Float[Tensor, "rows 1"]]
"""Of each column and row of pixels, in halves of the height, from the middle."""


def align(before: Images, now: Images) -> Images:
    """Lay the frames before upon the present ones.

    Args:
        before: one frame a pair, float32 or float64.
        now: the frames after them.

    Returns:
        The frames before as the camera would have seen them from where it is now; where it saw
        nothing then, the present ones.
    """
    # Coarse frames suffice: what is left is a small part of a pixel, at a fifth of the work.
    size = [max(2, side // 2) for side in before.shape[2:]]
    coarse = [F.interpolate(x.mean(1, keepdim=True), size, mode="area") for x in (before, now)]
    with torch.autocast(before.device.type, enabled=False):
        with torch.no_grad():  # The motion is taken as it is: gradients do not ask why.
            motion = camera_motion(*coarse)
        moved, was_seen = move(before, motion)
    return torch.where(was_seen[:, None], moved, now)


def camera_motion(before: Images, now: Images) -> Motion:
    """Find the zoom, turn and shift that explain most of what changed between two gray frames.

    Least squares by Gauss and Newton, where pixels that the motion does not explain weigh little
    (the weights of a Cauchy distribution), so that a person who moves in front of the scene does
    not count. Each pair is by itself.

    Reference: Baker and Matthews 2004, Lucas-Kanade 20 Years On, Int. J. Comput. Vision 56.

    Args:
        before: gray frames of one channel, float32 or float64.
        now: the frames after them.

    Returns:
        The motions; zeros where two frames are alike, or show nothing.
    """
    before, now = (F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) for x in (before, now))
    motion = before.new_zeros(len(before), 4)
    moved, was_seen = before, torch.ones_like(before[:, 0], dtype=torch.bool)
    position = _positions(now)
    # A little of everything is added, so that frames without edges do not move at all.
    ridge = torch.eye(4, device=before.device, dtype=before.dtype)
    for iteration in range(_NUM_ITERATIONS):
        if iteration > 0:
            moved, was_seen = move(before, motion)
        jacobian = _jacobian((moved + now) / 2, position)
        rest, seen = (now - moved).flatten(1), was_seen.flatten(1)
        usual = (rest.abs() * seen).mean(dim=1, keepdim=True) + _NOISE
        weighted = jacobian * (seen / (1 + (rest / usual).square()))[:, None]
        normal = weighted @ jacobian.transpose(1, 2)
        mean = normal.diagonal(dim1=1, dim2=2).mean(dim=1)
        normal = normal + (0.01 * mean + 1e-3)[:, None, None] * ridge
        change, _ = torch.linalg.solve_ex(normal, weighted @ rest[:, :, None])
        motion = (motion + change.squeeze(2)).clamp(-_LARGEST, _LARGEST)
    return motion


def move(frames: Images, motion: Motion) -> tuple[Images, Bool[Tensor, "pairs height width"]]:
    """Frames after a motion of the camera, between pixels linearly, and where they were seen."""
    height, width = frames.shape[2:]
    zoom, turn, right, down = motion[:, :, None, None].unbind(1)
    (x, y), kept = _positions(frames), 1 - zoom
    old_x, old_y = kept * x + turn * y - right, kept * y - turn * x - down
    # grid_sample wants halves of the frame's own width and height.
    grid = torch.stack([old_x * (height / width), old_y], dim=3)
    moved = F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
    return moved, (grid.abs() <= 1).all(dim=3)


def _positions(frames: Images) -> Position:
    """Where the pixels of frames are: to the right and down, from the middle, in half heights."""
    height, width = frames.shape[2:]
    options: Any = {"device": frames.device, "dtype": frames.dtype}
    right, low = (width - 1) / height, (height - 1) / height
    x = torch.linspace(-right, right, width, **options)
    y = torch.linspace(-low, low, height, **options)
    return x, y[:, None]


def _jacobian(gray: Images, position: Position) -> Float[Tensor, "pairs 4 pixels"]:
    """How the pixels of gray frames change by each part of a `Motion`, where it is small."""
    # What moves up a slope darkens a pixel; half a height has height / 2 pixels.
    right, down = (slope.squeeze(1) * (-gray.shape[2] / 2) for slope in slopes(gray))
    x, y = position
    return torch.stack([right * x + down * y, down * x - right * y, right, down], dim=1).flatten(2)
