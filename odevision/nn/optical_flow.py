"""Optical flow: how far each part of a scene moves between two frames.

Flow tells how something moves and not how it looks, so that few videos teach it.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from odevision.nn.image_slopes import slopes
from odevision.types import Images

_REDUCTIONS = (4, 2, 1)
"""Pixels of the frame to a pixel of the flow: coarse first, so that far motions are found, and all
of the resolution last."""
_PAIRS_AT_ONCE = 64
"""On a CPU: what fits its cache takes half the time."""
_LARGEST_CHANGE = 1.5
"""Most that a level corrects the one before, in its pixels; linear slopes reach no further."""
_NOISE = 0.02
"""Squared slopes of normalized brightness that say nothing: where there are no others, the flow is
zero."""

Flow = Float[Tensor, "pairs 2 height width"]
"""Motion to the right and down, in pixels."""


def optical_flow(before: Images, now: Images) -> Flow:
    """Find where each part of the frame before has gone, by least squares in a window around it.

    Each pair is by itself, and all colors count. The flow is smooth: windows are about five pixels
    wide. Gradients do not pass.

    References: Lucas and Kanade 1981, An Iterative Image Registration Technique, IJCAI; coarse to
        fine as in Bouguet 2000, Pyramidal Implementation of the Lucas Kanade Feature Tracker.

    Args:
        before: one frame a pair, float32 or float64.
        now: the frames after them.

    Returns:
        The flow at the pixels of `now`, in pixels of the frame.
    """
    with torch.no_grad(), torch.autocast(now.device.type, enabled=False):
        pairs = _PAIRS_AT_ONCE if now.device.type == "cpu" else max(1, len(now))
        parts = zip(before.split(pairs), now.split(pairs), strict=True)
        return torch.cat([_coarse_to_fine(*part) for part in parts])


def _coarse_to_fine(before: Images, now: Images) -> Flow:
    height, width = now.shape[2:]
    frames, flow = torch.cat([before, now]), None
    for reduction in _REDUCTIONS:
        size = max(1, height // reduction), max(1, width // reduction)
        smaller = frames if reduction == 1 else F.interpolate(frames, size, mode="area")
        old, new = _blur(smaller).chunk(2)
        if flow is None:
            flow = _blur(_correction(old, new))
        else:
            flow = _enlarge(flow, size)
            flow = _blur(flow + _correction(_look_up(old, flow), new))
    assert flow is not None
    return flow


def _correction(moved: Images, now: Images) -> Flow:
    """The flow that is left between two frames, where it is small."""
    right, down = slopes((moved + now) / 2)
    change = now - moved
    pairs = ((right, right), (right, down), (down, down), (right, change), (down, change))
    sums = torch.stack([(a * b).sum(dim=1) for a, b in pairs], dim=1)
    xx, xy, yy, xt, yt = _blur(_blur(sums)).unbind(1)
    xx, yy = xx + _NOISE, yy + _NOISE
    solved = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], dim=1)
    found = solved / (xx * yy - xy * xy)[:, None]
    return found.clamp(-_LARGEST_CHANGE, _LARGEST_CHANGE)


def _look_up(frames: Images, flow: Flow) -> Images:
    """Frames after a flow, between pixels linearly."""
    height, width = frames.shape[2:]
    options: Any = {"device": flow.device, "dtype": flow.dtype}
    # grid_sample wants halves of the frame's width and height, from the middle.
    x = torch.linspace(1 / width - 1, 1 - 1 / width, width, **options)
    y = torch.linspace(1 / height - 1, 1 - 1 / height, height, **options)[:, None]
    old_x = torch.sub(x, flow[:, 0], alpha=2 / width)
    old_y = torch.sub(y, flow[:, 1], alpha=2 / height)
    grid = torch.stack([old_x, old_y], dim=3)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False)


def _enlarge(flow: Float[Tensor, "pairs 2 rows columns"], size: tuple[int, int]) -> Flow:
    """A flow at another resolution, in pixels of that."""
    larger = F.interpolate(flow, size, mode="bilinear", align_corners=False)
    larger[:, 0].mul_(size[1] / flow.shape[3])
    larger[:, 1].mul_(size[0] / flow.shape[2])
    return larger


def _blur(maps: Images) -> Images:
    """Weights 1, 2, 1 along both axes; by slices, a tenth of a convolution's time in a batch."""
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    # In place, for sums that nothing else holds.
    rows = (padded[:, :, :-2] + padded[:, :, 2:]).add_(padded[:, :, 1:-1], alpha=2)
    both = (rows[:, :, :, :-2] + rows[:, :, :, 2:]).add_(rows[:, :, :, 1:-1], alpha=2)
    return both.mul_(1 / 16)
