"""video-r2plus1d: factorized 3D convolutions over a whole clip, a baseline that cannot stream."""

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from odevision.models.video_settings import check_video_sizes
from odevision.nn.frame_stem import FrameInput, frame_inputs, nothing_seen, num_inputs
from odevision.nn.ode_block import ODEBlock
from odevision.types import Clips, Logits

Volumes = Float[Tensor, "batch channels time height width"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoR2Plus1DConfig:
    """Configuration of VideoR2Plus1D; the defaults have about as many parameters as its rivals.

    Attributes:
        in_channels: channels of a frame.
        num_classes: number of classes.
        widths: channels of each stage, multiples of 8; each halves height and width, and each but
            the first the number of frames.
        frame_input: what the network sees of a frame: the frame, its difference to the one before,
            that without the motion of the camera ("stabilized"), the latter behind the optical
            flow ("flow"), or frame and difference ("both").
    """

    in_channels: int = 3
    num_classes: int = 5
    widths: tuple[int, ...] = (24, 48, 80, 120)
    frame_input: FrameInput = "both"

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        check_video_sizes(self.in_channels, self.num_classes, self.frame_input)
        if not self.widths or any(width < 8 or width % 8 for width in self.widths):
            raise ValueError(
                f"`widths` must be multiples of 8, got {self.widths}. Try 24 48 80 120."
            )


class FactorizedConv(nn.Module):
    """A convolution over space, then one over time, each with BatchNorm and ReLU.

    Reference: Tran et al. 2018, arXiv 1711.11248.

    Args:
        in_channels: channels before.
        channels: channels after.
        time_stride: frames from one output to the next.
    """

    def __init__(self, in_channels: int, channels: int, *, time_stride: int) -> None:
        """Build both."""
        super().__init__()
        self.time_stride = time_stride
        self.space = nn.Sequential(
            nn.Conv3d(in_channels, channels, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(),
        )
        self.time = nn.Sequential(
            nn.Conv3d(channels, channels, (3, 1, 1), (time_stride, 1, 1), (1, 0, 0), bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(),
        )

    def forward(
        self, x: Volumes, mask: Bool[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch features steps rows columns"], Bool[Tensor, "batch steps"]]:
        """Feature maps, and which of their steps in time stand at a frame."""
        # A padded step is as empty as what lies beyond the last one.
        x = torch.where(mask[:, None, :, None, None], self.space(x), 0.0)
        return self.time(x), mask[:, :: self.time_stride]


class VideoR2Plus1D(nn.Module):
    """Stages of factorized convolutions, the mean over space and time, a linear head.

    Times are not looked at. Padding changes no answer; only the statistics of the BatchNorm layers
    in training take it in.

    Args:
        config: its configuration.
    """

    def __init__(self, config: VideoR2Plus1DConfig) -> None:
        """Build the stages in order."""
        super().__init__()
        self.config = config
        channels = num_inputs(config.in_channels, config.frame_input)
        self.stages = nn.ModuleList()
        for index, width in enumerate(config.widths):
            self.stages.append(FactorizedConv(channels, width, time_stride=1 if index == 0 else 2))
            channels = width
        self.head = nn.Linear(channels, config.num_classes)

    def forward(self, clips: Clips) -> Logits:
        """Class scores of whole clips."""
        frames, _, mask = clips
        nothing = nothing_seen(frames[:, 0])
        x = frame_inputs(frames, mask, nothing, self.config.frame_input).transpose(1, 2)
        for stage in self.stages:
            x, mask = stage(x, mask)
        weights = mask / mask.sum(dim=1, keepdim=True)
        x = x.to(torch.promote_types(self.head.weight.dtype, torch.float32))
        return self.head((x.mean(dim=(3, 4)) * weights[:, None]).sum(dim=2))

    def ode_blocks(self) -> list[ODEBlock]:
        """None: this network solves no ODE."""
        return []
