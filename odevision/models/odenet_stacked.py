"""odenet-stacked: ODE blocks at falling resolutions and rising widths, for photos."""

import dataclasses
from typing import Literal, get_args

from torch import nn
from torch.nn import functional as F

from odevision.models.solve_settings import SolveSettings
from odevision.nn.head import MaxHead
from odevision.nn.ode_block import ODEBlock
from odevision.nn.stem import WhiteningStem
from odevision.nn.transition import Transition
from odevision.nn.vector_fields import GatedConvField
from odevision.nn.weight_norm_field import WeightNormField
from odevision.solve import unknown_name
from odevision.types import Images, Logits

FieldName = Literal["group-norm", "weight-norm", "leaky"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ODENetStackedConfig(SolveSettings):
    """Configuration of ODENetStacked; the defaults suit 32 x 32 photos, 1.97 M parameters.

    Attributes:
        in_channels: channels of the images.
        num_classes: number of classes.
        widths: channels of each stage's state, multiples of 16; each stage halves the resolution.
        field: what the vector fields normalize: their feature maps, in groups, or their filters,
            which is faster. `leaky` normalizes filters too, and draws the state to the features
            instead of adding them to it.
        time_weights: whether filters that are normalized move with the time.
        augment_channels: zero channels that are appended to each state before its solve and
            dropped behind it (Dupont et al. 2019, arXiv 1904.01681); a multiple of 16, and only
            where filters are normalized.
        transition_convs: convolutions between two ODEs. The second and those that follow keep the
            shape; they may forget, which an ODE cannot.
        final_norm: whether the head begins with BatchNorm and GELU.
        stem_stride: pixels from one patch of the stem to the next; its patches are twice as wide.
            1 for images of 32 pixels; 4 brings 224 to 55 before the first stage.
    """

    in_channels: int = 3
    num_classes: int = 10
    widths: tuple[int, ...] = (64, 256, 256)
    field: FieldName = "group-norm"
    time_weights: bool = False
    augment_channels: int = 0
    transition_convs: int = 1
    final_norm: bool = False
    stem_stride: int = 1
    solver: str = "midpoint"
    num_steps: int | None = 1

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.check_sizes(
            in_channels=self.in_channels,
            num_classes=self.num_classes,
            stem_stride=self.stem_stride,
            transition_convs=self.transition_convs,
        )
        if not self.widths or any(width < 16 or width % 16 for width in self.widths):
            raise ValueError(
                f"`widths` must be multiples of 16, got {self.widths}. Try 64 256 256."
            )
        if self.augment_channels < 0 or self.augment_channels % 16:
            raise ValueError(
                "`augment_channels` must be 0 or a multiple of 16, got "
                f"{self.augment_channels}. Try 16."
            )
        if self.augment_channels and self.field == "group-norm":
            # GroupNorm divides by the deviation of a group: at zero its slope is without bound.
            raise ValueError(
                "`augment_channels` must be 0 with field 'group-norm', which cannot normalize "
                f"channels that are zero, got {self.augment_channels}. Try field='weight-norm'."
            )
        if self.field not in get_args(FieldName):
            raise ValueError(unknown_name("field", self.field, get_args(FieldName)))
        if self.time_weights and self.field == "group-norm":
            raise ValueError(
                f"`time_weights` must be false with field {self.field!r}. Try field='weight-norm'."
            )

    def extra_channels(self, width: int) -> int:
        """Zero channels that are appended to a state of this width."""
        del width
        return self.augment_channels

    def vector_field(self, width: int) -> nn.Module:
        """The field of a stage of this width, the appended channels included."""
        channels = width + self.extra_channels(width)
        if self.field == "group-norm":
            return GatedConvField(channels)
        leaky = self.field == "leaky"
        return WeightNormField(channels, time_weights=self.time_weights, leaky=leaky)


class ODENetStacked(nn.Module):
    """Whitening stem, then for each width a transition and an ODE block, then a max-pooled head.

    Args:
        config: its configuration.
    """

    def __init__(self, config: ODENetStackedConfig) -> None:
        """Build the stages in order."""
        super().__init__()
        self.config = config
        self.stem = WhiteningStem(config.in_channels, stride=config.stem_stride)
        channels = self.stem.out_channels
        stages: list[nn.Module] = []
        for width in config.widths:
            block = config.block(config.vector_field(width))
            transition = Transition(channels, width, num_convs=config.transition_convs)
            stages += [transition, block]
            channels = width
        self.stages = nn.Sequential(*stages)
        self.head = MaxHead(channels, config.num_classes, normalize=config.final_norm)

    def initialize_from(self, images: Images) -> None:
        """Set the whitening filters from normalized training images; a few thousand suffice."""
        self.stem.initialize_from(images)

    def forward(self, images: Images) -> Logits:
        """Class scores of normalized images; each stage halves what the stem leaves of a side."""
        x = self.stem(images)
        for stage in self.stages:
            width = x.shape[1]
            extra = self.config.extra_channels(width) if isinstance(stage, ODEBlock) else 0
            x = stage(F.pad(x, (0, 0, 0, 0, 0, extra)))[:, :width] if extra else stage(x)
        return self.head(x)

    def ode_blocks(self) -> list[ODEBlock]:
        """One block a stage, in order."""
        return [stage for stage in self.stages if isinstance(stage, ODEBlock)]
