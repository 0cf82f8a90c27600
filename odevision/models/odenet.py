"""odenet: the paper's network (Chen et al. 2018): stem, one ODE block, head."""

import dataclasses

from torch import nn

from odevision.models.solve_settings import SolveSettings
from odevision.nn.head import AverageHead
from odevision.nn.ode_block import ODEBlock
from odevision.nn.stem import DownsamplingStem
from odevision.nn.vector_fields import ConvField
from odevision.types import Images, Logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class ODENetConfig(SolveSettings):
    """Configuration of ODENet; the defaults are the paper's on MNIST, 208,266 parameters.

    Attributes:
        in_channels: channels of the images.
        num_classes: number of classes.
        channels: width of the state, a multiple of 32 or below 32.
    """

    in_channels: int = 1
    num_classes: int = 10
    channels: int = 64

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.check_sizes(in_channels=self.in_channels, num_classes=self.num_classes)
        if self.channels < 1 or self.channels % min(32, self.channels):
            raise ValueError(
                f"`channels` must be a multiple of 32, or below 32, got {self.channels}. Try 64."
            )


class ODENet(nn.Module):
    """Stem of three convolutions, one ODE block over t in [0, 1], pooled linear head.

    Args:
        config: its configuration.
    """

    def __init__(self, config: ODENetConfig) -> None:
        """Build the three parts."""
        super().__init__()
        self.config = config
        self.stem = DownsamplingStem(config.in_channels, config.channels)
        self.block = config.block(ConvField(config.channels))
        self.head = AverageHead(config.channels, config.num_classes)

    def forward(self, images: Images) -> Logits:
        """Class scores of normalized images of 16 pixels a side or more."""
        return self.head(self.block(self.stem(images)))

    def ode_blocks(self) -> list[ODEBlock]:
        """The one block."""
        return [self.block]
