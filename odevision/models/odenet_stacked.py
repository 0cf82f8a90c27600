"""odenet-stacked: ODE blocks at falling resolutions and rising widths, for photos."""

import dataclasses

from torch import nn

from odevision.models.solve_settings import SolveSettings
from odevision.nn.head import MaxHead
from odevision.nn.ode_block import ODEBlock
from odevision.nn.stem import WhiteningStem
from odevision.nn.transition import Transition
from odevision.nn.vector_fields import GatedConvField
from odevision.types import Images, Logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class ODENetStackedConfig(SolveSettings):
    """Configuration of ODENetStacked; the defaults suit 32 x 32 photos, 1.97 M parameters.

    Attributes:
        in_channels: channels of the images.
        num_classes: number of classes.
        widths: channels of each stage's state, multiples of 16; each stage halves the resolution.
    """

    in_channels: int = 3
    num_classes: int = 10
    widths: tuple[int, ...] = (64, 256, 256)
    solver: str = "midpoint"
    num_steps: int | None = 1

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.check_sizes(in_channels=self.in_channels, num_classes=self.num_classes)
        if not self.widths or any(width < 16 or width % 16 for width in self.widths):
            raise ValueError(
                f"`widths` must be multiples of 16, got {self.widths}. Try 64 256 256."
            )


class ODENetStacked(nn.Module):
    """Whitening stem, then for each width a transition and an ODE block, then a max-pooled head.

    Args:
        config: its configuration.
    """

    def __init__(self, config: ODENetStackedConfig) -> None:
        """Build the stages in order."""
        super().__init__()
        self.config = config
        self.stem = WhiteningStem(config.in_channels)
        channels = self.stem.out_channels
        stages: list[nn.Module] = []
        for width in config.widths:
            stages += [Transition(channels, width), config.block(GatedConvField(width))]
            channels = width
        self.stages = nn.Sequential(*stages)
        self.head = MaxHead(channels, config.num_classes)

    def initialize_from(self, images: Images) -> None:
        """Set the whitening filters from normalized training images; a few thousand suffice."""
        self.stem.initialize_from(images)

    def forward(self, images: Images) -> Logits:
        """Class scores of normalized images whose side is above 2 to the number of stages."""
        return self.head(self.stages(self.stem(images)))

    def ode_blocks(self) -> list[ODEBlock]:
        """One block a stage, in order."""
        return [stage for stage in self.stages if isinstance(stage, ODEBlock)]
