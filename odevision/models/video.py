"""Video networks: a stem for each frame, recurrent layers at falling resolutions, a pooled head.

All but video-r2plus1d are one network, `RecurrentVideoNet`, with other layers in it. It advances by
any number of frames, so a stream that comes frame by frame is answered as a whole clip is.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from odevision.models.frame_backbone import FrameBackbone
from odevision.models.solve_settings import SolveSettings
from odevision.models.video_settings import VideoSettings, VideoSolveSettings
from odevision.nn.chunked import advance_in_chunks
from odevision.nn.conv_gru import ConvGRUCell
from odevision.nn.conv_lstm import ConvLSTMCell
from odevision.nn.dense_field import DenseField
from odevision.nn.driven_ode import DrivenODE
from odevision.nn.frame_layers import EachFrame, FrameResidual, GapAsInput
from odevision.nn.frame_pooling import FramePooling, PooledFrames
from odevision.nn.frame_stem import (
    Downsampling,
    SeenFrame,
    frame_inputs,
    latest,
    nothing_seen,
    num_inputs,
    see_frames,
)
from odevision.nn.gap_ode import GapODE
from odevision.nn.gru_ode import GRUODEField
from odevision.nn.ode_block import ODEBlock
from odevision.nn.ode_rnn import ODERNN
from odevision.solve import unknown_name
from odevision.types import Clips, Logits

CellName = Literal["gru", "lstm"]
_CELLS = {"gru": ConvGRUCell, "lstm": ConvLSTMCell}

ANSWER_CHUNK = 64
"""Frames at once where no gradient is wanted, so that long videos take no more memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoODERNNConfig(VideoSolveSettings):
    """Configuration of video-odernn: an ODE after every recurrent layer.

    Attributes:
        cell: what updates the state at a frame: a "gru", or an "lstm", whose state has twice the
            channels.
    """

    widths: tuple[int, ...] = (32, 40)
    cell: CellName = "gru"

    def __post_init__(self) -> None:
        """Refuse what the first solve would refuse, and cells that there are not."""
        super().__post_init__()
        if self.cell not in _CELLS:
            raise ValueError(unknown_name("cell", self.cell, _CELLS))

    def layer(self, width: int) -> nn.Module:
        """A recurrent cell whose state evolves between the frames."""
        cell = _CELLS[self.cell](width, width, norm=self.cell_norm)
        evolve = GapODE(GRUODEField(cell.state_channels), **self.gap_settings())
        return ODERNN(cell, evolve)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoDrivenConfig(VideoSolveSettings):
    """Configuration of video-driven: the frames are fed to the solver gradually."""

    def __post_init__(self) -> None:
        """Refuse what the first solve would refuse, and the norm of cells that are not there."""
        super().__post_init__()
        self.refuse(cell_norm="none")

    def layer(self, width: int) -> nn.Module:
        """An ODE that the frames drive."""
        return DrivenODE(width, width, **self.gap_settings())


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoConvGRUConfig(VideoSettings):
    """Configuration of video-convgru: a recurrent network that knows no time."""

    def layer(self, width: int) -> nn.Module:
        """A ConvGRU."""
        return ODERNN(ConvGRUCell(width, width, norm=self.cell_norm), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoConvGRUDtConfig(VideoSettings):
    """Configuration of video-convgru-dt: the gap before a frame is a further input of the cell.

    Attributes:
        rate: factor on the gaps in seconds.
    """

    rate: float = 8.0

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        if not self.rate > 0:
            raise ValueError(f"`rate` must be above 0, got {self.rate}. Try 8.")

    def layer(self, width: int) -> nn.Module:
        """A ConvGRU with one input channel more."""
        return GapAsInput(ODERNN(ConvGRUCell(width + 1, width, norm=self.cell_norm), None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoMeanConfig(VideoSettings):
    """Configuration of video-mean: the mean over the frames, whatever their order."""

    def __post_init__(self) -> None:
        """Refuse sizes that no network has, and the norm of cells that are not there."""
        super().__post_init__()
        self.refuse(cell_norm="none")

    def layer(self, width: int) -> nn.Module:
        """A convolution of each frame by itself."""
        return EachFrame(width)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoOnceConfig(VideoSettings, SolveSettings):
    """Configuration of video-once: the recurrent network's last vector goes through one ODE.

    The ODE stands once behind the whole video: the form of the report this project set out from.
    """

    solver: str = "midpoint"
    num_steps: int | None = 4

    def __post_init__(self) -> None:
        """Refuse what the first solve would refuse, and a pooling: the last vector counts."""
        VideoSettings.__post_init__(self)
        SolveSettings.__post_init__(self)
        self.refuse(pooling="mean")

    def layer(self, width: int) -> nn.Module:
        """A ConvGRU."""
        return ODERNN(ConvGRUCell(width, width, norm=self.cell_norm), None)

    def end(self, features: int) -> nn.Module:
        """An ODE over the last vector."""
        return self.block(DenseField(features))


class VideoState(NamedTuple):
    """All that a network remembers of the frames so far; nested tuples of tensors.

    Attributes:
        seen: The latest frame.
        seconds: Its time.
        layers: State of each recurrent layer.
        pooled: Statistics of the frames' features.
        last: Features of the latest frame.
    """

    seen: SeenFrame
    seconds: Float[Tensor, " batch"]
    layers: tuple[Any, ...]
    pooled: PooledFrames
    last: Float[Tensor, "batch features"]


class RecurrentVideoNet(nn.Module):
    """Stem, recurrent layers, pooling over time, linear head.

    Before each recurrent layer the resolution is halved; residual blocks of single frames may
    follow.

    Args:
        config: of one of the recurrent networks.
    """

    def __init__(self, config: VideoSettings) -> None:
        """Build the layers in order."""
        super().__init__()
        self.config = config
        channels = num_inputs(config.in_channels, config.frame_input)
        if config.backbone is None:
            self.stem: Any = Downsampling(channels, config.stem_width)
        else:
            self.stem = FrameBackbone(
                config.backbone, config.stem_width, freeze=config.freeze_backbone
            )
        channels, stride = config.stem_width, 2 if config.backbone is None else 1
        halvings, blocks, layers = [], [], []
        for width in config.widths:
            halvings.append(Downsampling(channels, width, stride=stride))
            residuals = (FrameResidual(width) for _ in range(config.frame_blocks))
            blocks.append(nn.Sequential(*residuals))
            layers.append(config.layer(width))
            channels = width
        self.halvings, self.layers = nn.ModuleList(halvings), nn.ModuleList(layers)
        self.blocks = nn.ModuleList(blocks)
        self.end = config.end(channels)
        self.pooling = FramePooling(channels, attention=config.pooling == "attention")
        self.head = nn.Linear(channels, config.num_classes)

    def load_pretrained(self) -> None:
        """Load the backbone's pretrained weights, if they are asked for; a new run calls this.

        Raises:
            BackboneDownloadError: they cannot be downloaded.
        """
        if isinstance(self.stem, FrameBackbone) and self.config.pretrained:
            self.stem.load_pretrained()

    def learning_rate_scale(self, name: str) -> float:
        """Factor on the learning rate of a parameter."""
        if not name.startswith("stem.backbone."):
            return 1.0
        scale = self.config.backbone_learning_rate_scale
        return scale if scale is not None else (0.1 if self.config.pretrained else 1.0)

    def initial_state(self, batch: int, height: int, width: int) -> VideoState:
        """The state before the first frame, on the device of the weights.

        Args:
            batch: number of clips.
            height: of the frames.
            width: of the frames.
        """
        weight = self.head.weight
        size, layers = self.stem.size(height, width), []
        for halving, layer in zip(self.halvings, self.layers, strict=True):
            size = halving.size(*size)  # pyright: ignore[reportCallIssue]
            layers.append(layer.initial_state(batch, *size))  # pyright: ignore[reportCallIssue]
        return VideoState(
            seen=nothing_seen(weight.new_empty(batch, self.config.in_channels, height, width)),
            seconds=torch.zeros(batch, device=weight.device),
            layers=tuple(layers),
            pooled=self.pooling.initial(batch, weight.device, self._dtype),
            last=weight.new_zeros(batch, self.pooling.features),
        )

    def advance(self, state: VideoState, clips: Clips) -> VideoState:
        """Take in frames, one or many.

        Args:
            state: before them.
            clips: the frames that come next; the first one may be padding too, where a clip is
                over. Times of hours need float64 seconds.

        Returns:
            The state after them.
        """
        frames, seconds, mask = clips
        batch, time = mask.shape
        gaps = self._gaps(state, seconds, mask)
        x = frame_inputs(frames, mask, state.seen, self.config.frame_input)
        x, layers = self.stem(x.flatten(0, 1)), []
        parts = zip(self.halvings, self.blocks, self.layers, state.layers, strict=True)
        for halving, block, layer, old in parts:
            x = block(halving(x)).unflatten(0, (batch, time))
            x, new = layer(x, gaps, mask, old)
            x = x.flatten(0, 1)
            layers.append(new)
        features = x.to(self._dtype).mean(dim=(2, 3)).unflatten(0, (batch, time))
        return VideoState(
            seen=see_frames(frames, mask, state.seen),
            seconds=latest(seconds, mask, state.seconds),
            layers=tuple(layers),
            pooled=self.pooling(state.pooled, features, mask),
            last=latest(features, mask, state.last),
        )

    @property
    def _dtype(self) -> torch.dtype:
        """That of times and sums: float32, or float64 where the weights are."""
        return torch.promote_types(self.head.weight.dtype, torch.float32)

    def _gaps(
        self,
        state: VideoState,
        seconds: Float[Tensor, "batch time"],
        mask: Bool[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time"]:
        """ODE time before each frame: 0 before a clip's first frame and before padding."""
        first = torch.where(state.seen.started, state.seconds, seconds[:, 0])
        gaps = torch.diff(seconds, dim=1, prepend=first[:, None])
        rate = getattr(self.config, "rate", 1.0)
        return torch.where(mask, rate * gaps, 0.0).to(self._dtype)

    def logits(self, state: VideoState) -> Logits:
        """Class scores of what was seen so far."""
        if self.end is None:
            return self.head(state.pooled.value)
        return self.head(self.end(state.last))

    def forward(self, clips: Clips) -> Logits:
        """Class scores of whole clips."""
        batch, num_frames, _, height, width = clips.frames.shape
        for block in self.ode_blocks():
            if isinstance(block, GapODE):
                block.reset_stats()

        def advance(state: VideoState, part: Clips) -> VideoState:
            if not clips.frames.requires_grad:
                # The states between chunks are leaves: spare the gradient of the frame in them.
                seen = state.seen._replace(frame=state.seen.frame.detach())
                state = state._replace(seen=seen)
            return self.advance(state, part)

        state = advance_in_chunks(
            advance,
            self.initial_state(batch, height, width),
            clips,
            chunk=self.config.chunk or (num_frames if torch.is_grad_enabled() else ANSWER_CHUNK),
            parameters=self.parameters(),
        )
        return self.logits(state)

    def ode_blocks(self) -> list[GapODE | ODEBlock]:
        """Every ODE, in order."""
        return [module for module in self.modules() if isinstance(module, GapODE | ODEBlock)]
