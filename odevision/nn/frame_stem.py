"""From the frames of a clip to the feature maps that a recurrent layer takes."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from odevision.nn.camera_motion import align
from odevision.nn.ode_rnn import FrameMaps
from odevision.nn.optical_flow import optical_flow
from odevision.types import FeatureMaps, Images

FrameInput = Literal["frames", "differences", "stabilized", "flow", "both"]
"""What a network sees of a frame: itself, its difference to the one before, that without the motion
of the camera, the latter behind the optical flow, or frame and difference."""


class Downsampling(nn.Module):
    """Convolution, GroupNorm, GELU: with stride 2 half the resolution, rounded up.

    GroupNorm, because the statistics of a BatchNorm would depend on how many frames come at once.

    Args:
        in_channels: channels before.
        channels: channels after, a multiple of 8.
        stride: 2, or 1 to keep the resolution.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int = 2) -> None:
        """Build both."""
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, channels)

    def forward(self, x: Images) -> FeatureMaps:
        """Feature maps."""
        return F.gelu(self.norm(self.conv(x)))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the feature maps of an input of this height and width."""
        return -(-height // self.stride), -(-width // self.stride)


class SeenFrame(NamedTuple):
    """What the difference of frames needs to know of the frames so far.

    Attributes:
        frame: The latest frame; zeros before the first.
        started: Whether there was one.
    """

    frame: Images
    started: Bool[Tensor, " batch"]


def nothing_seen(frame: Images) -> SeenFrame:
    """What was seen before the first frame.

    Args:
        frame: any of its size, dtype and device, one a clip.
    """
    started = torch.zeros(len(frame), dtype=torch.bool, device=frame.device)
    return SeenFrame(frame=torch.zeros_like(frame), started=started)


def num_inputs(channels: int, kind: FrameInput) -> int:
    """Channels of `frame_inputs`.

    Args:
        channels: of a frame.
        kind: what the network sees of it.
    """
    return {"flow": 2 + channels, "both": 2 * channels}.get(kind, channels)


def frame_inputs(
    frames: FrameMaps, mask: Bool[Tensor, "batch time"], seen: SeenFrame, kind: FrameInput
) -> Float[Tensor, "batch time inputs height width"]:
    """What a network is to see of frames. Differences show motion, whatever the background.

    Where the camera moves, the background does too: "stabilized" and "flow" lay the frame before
    upon the frame first, see `align`.

    Args:
        frames: normalized frames.
        mask: True for a frame, False for padding, which stands at the end.
        seen: of the frames before these.
        kind: with "both" the differences come behind the frames, with "flow" the stabilized ones
            behind `optical_flow`.

    Returns:
        Frames, or differences and flow, which are zero at a clip's first frame and in the padding.
    """
    if kind == "frames":
        return frames
    # Where nothing was seen, the first frame stands before itself.
    first = torch.where(seen.started[:, None, None, None], seen.frame, frames[:, 0])
    before = torch.cat([first[:, None], frames[:, :-1]], dim=1)
    if kind in ("differences", "both"):
        differences = torch.where(mask[:, :, None, None, None], frames - before, 0.0)
        return torch.cat([frames, differences], dim=2) if kind == "both" else differences
    before, now = before.flatten(0, 1), frames.flatten(0, 1)
    before = align(before, now)
    changes = now - before
    if kind == "flow":
        changes = torch.cat([optical_flow(before, now), changes], dim=1)
    # A first frame stands before itself, but for rounding.
    is_shown = mask & torch.cat([seen.started[:, None], mask[:, :-1]], dim=1)
    return torch.where(is_shown[:, :, None, None, None], changes.unflatten(0, mask.shape), 0.0)


def see_frames(frames: FrameMaps, mask: Bool[Tensor, "batch time"], seen: SeenFrame) -> SeenFrame:
    """What has been seen after these frames.

    Args:
        frames: normalized frames.
        mask: True for a frame, False for padding, which stands at the end.
        seen: before them.
    """
    return SeenFrame(frame=latest(frames, mask, seen.frame), started=seen.started | mask.any(dim=1))


def latest(
    values: Float[Tensor, "batch time *shape"],
    mask: Bool[Tensor, "batch time"],
    before: Float[Tensor, " batch *shape"],
) -> Float[Tensor, " batch *shape"]:
    """The value at each clip's latest frame, or the one before where there is none.

    Args:
        values: one a frame.
        mask: True for a frame, False for padding, which stands at the end.
        before: of the frames before these.
    """
    last = mask.sum(dim=1) - 1
    rows = torch.arange(len(values), device=values.device)
    is_new = (last >= 0).view(-1, *[1] * (before.ndim - 1))
    return torch.where(is_new, values[rows, last.clamp(min=0)], before)
