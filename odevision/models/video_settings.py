"""What the configurations of the video networks share: sizes, frames, solves."""

import abc
import dataclasses
from typing import Any, Literal, get_args

from torch import nn

from odevision.models.backbone import check_backbone_name
from odevision.models.solve_settings import GradientName, SolveSettings
from odevision.nn.frame_stem import FrameInput
from odevision.nn.gate_conv import GateNorm
from odevision.solve import unknown_name

PoolingName = Literal["mean", "attention"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoSettings(abc.ABC):
    """What all recurrent video networks can be told.

    Attributes:
        in_channels: channels of a frame.
        num_classes: number of classes.
        stem_width: channels of the stem, which halves the resolution; a multiple of 8.
        widths: channels of each recurrent layer, multiples of 8; before each a convolution halves
            the resolution again. The defaults of all networks have about 0.2 M parameters.
        frame_blocks: residual convolutions of each frame by itself before each recurrent layer.
        frame_input: what the network sees of a frame: the frame, its difference to the one before,
            that once the motion of the camera is taken out ("stabilized"), the latter behind the
            optical flow ("flow"), or frame and difference ("both"). Differences show motion,
            whatever the background; flow shows it, whatever it is that moves.
        cell_norm: of the recurrent cells: "weight" of their filters, "group" of their gates.
        pooling: of the frames' features over time: their mean, or one by learned weights.
        chunk: frames whose graph is held at once in training. Longer clips are made again chunk by
            chunk on the way back, with the same gradients. None holds all.
        backbone: torchvision/NAME or timm/NAME, a network in place of the stem; the layers then
            keep its resolution. None takes a convolution.
        pretrained: whether a new training run starts from the backbone's default weights, which it
            downloads.
        freeze_backbone: keep the backbone's weights as they are.
        backbone_learning_rate_scale: factor on the learning rate of the backbone; None takes 0.1
            with pretrained weights, which need smaller steps than fresh ones, and 1 without.
    """

    in_channels: int = 3
    num_classes: int = 5
    stem_width: int = 16
    widths: tuple[int, ...] = (32, 48)
    frame_blocks: int = 0
    frame_input: FrameInput = "both"
    cell_norm: GateNorm = "none"
    pooling: PoolingName = "mean"
    chunk: int | None = None
    backbone: str | None = None
    pretrained: bool = True
    freeze_backbone: bool = False
    backbone_learning_rate_scale: float | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        check_video_sizes(self.in_channels, self.num_classes, self.frame_input)
        for name, known in (("pooling", PoolingName), ("cell_norm", GateNorm)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(unknown_name(name, getattr(self, name), get_args(known)))
        widths = (self.stem_width, *self.widths)
        if not self.widths or any(width < 8 or width % 8 for width in widths):
            raise ValueError(
                "`stem_width` and `widths` must be multiples of 8, got "
                f"{self.stem_width} and {self.widths}. Try 16 and 32 48."
            )
        if self.frame_blocks < 0:
            raise ValueError(f"`frame_blocks` must be 0 or more, got {self.frame_blocks}. Try 1.")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"`chunk` must be at least 1 frame, got {self.chunk}. Try 8.")
        self._check_backbone()

    def _check_backbone(self) -> None:
        scale = self.backbone_learning_rate_scale
        if self.backbone is None:
            if self.freeze_backbone or scale is not None:
                raise ValueError(
                    "`backbone` must be given with freeze_backbone or "
                    "backbone_learning_rate_scale. Try backbone='torchvision/resnet18'."
                )
            return
        check_backbone_name(self.backbone)
        if self.in_channels not in (1, 3):
            raise ValueError(
                f"`in_channels` must be 1 or 3 with a backbone, got {self.in_channels}."
            )
        if self.frame_input != "frames":
            raise ValueError(
                "`frame_input` must be 'frames' with a backbone, which knows photos only, got "
                f"{self.frame_input!r}."
            )
        if scale is not None and scale <= 0:
            raise ValueError(
                f"`backbone_learning_rate_scale` must be above 0, got {scale}. Try "
                "freeze_backbone=True to keep it."
            )

    def refuse(self, **unused: Any) -> None:
        """Refuse fields that mean nothing to a network, unless they have the value given here.

        Raises:
            ValueError: one has another value.
        """
        for name, value in unused.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"`{name}` must be {value!r} for this network, which makes no use of it, got "
                    f"{getattr(self, name)!r}."
                )

    @abc.abstractmethod
    def layer(self, width: int) -> nn.Module:
        """A recurrent layer whose input and output have `width` channels."""

    def end(self, features: int) -> nn.Module | None:
        """What the latest frame's features go through in place of the pooling; None pools."""
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoSolveSettings(VideoSettings, SolveSettings):
    """What networks with ODEs between the frames can be told, too.

    Attributes:
        rate: units of ODE time a second; the reciprocal of the usual gap makes that one unit.
        max_step: longest piece in those units: longer gaps are cut, and `num_steps` counts the
            steps of a piece.
    """

    solver: str = "midpoint"
    num_steps: int | None = 1
    gradient: GradientName = "direct"
    rate: float = 8.0
    max_step: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what the first solve would refuse."""
        VideoSettings.__post_init__(self)
        SolveSettings.__post_init__(self)
        for name in ("rate", "max_step"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be above 0, got {getattr(self, name)}. Try 8.")
        if self.warm_start:
            raise ValueError(
                "`warm_start` must be false between the frames of a video, where every gap is "
                "another one."
            )

    def gap_settings(self) -> dict[str, Any]:
        """How `GapODE` solves."""
        names = ("solver", "num_steps", "rtol", "atol", "gradient", "max_step")
        return {name: getattr(self, name) for name in names}


def check_video_sizes(in_channels: int, num_classes: int, frame_input: str) -> None:
    """Refuse what no video network has.

    Raises:
        ValueError: a number is below 1, or there is no such input.
    """
    for name, value in (("in_channels", in_channels), ("num_classes", num_classes)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if frame_input not in get_args(FrameInput):
        raise ValueError(unknown_name("frame_input", frame_input, get_args(FrameInput)))
