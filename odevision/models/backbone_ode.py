"""backbone-ode: an ODE block behind the feature maps of a torchvision or timm network."""

import dataclasses

import torch
from torch import nn

from odevision.models.backbone import build_backbone, check_backbone_name, feature_channels
from odevision.models.solve_settings import GradientName, SolveSettings
from odevision.nn.head import AverageHead
from odevision.nn.ode_block import ODEBlock
from odevision.nn.vector_fields import GatedConvField
from odevision.types import Images, Logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneODEConfig(SolveSettings):
    """Configuration of BackboneODE.

    Attributes:
        in_channels: channels of the images, 3 or 1; a single one is given to the backbone thrice.
        num_classes: number of classes.
        backbone: torchvision/NAME or timm/NAME, a convolutional network.
        pretrained: a new training run starts from the library's default weights, which it
            downloads. A network that is only built has fresh ones, and a checkpoint its own.
        freeze_backbone: keep the backbone's weights, and the statistics of its BatchNorm layers, as
            they are. Without pretrained weights that leaves random features.
        backbone_learning_rate_scale: factor on the learning rate of the backbone; None takes 0.1
            with pretrained weights, which need smaller steps than fresh ones, and 1 without.
        channels: width of the ODE's state, a multiple of 32.
    """

    in_channels: int = 3
    num_classes: int = 10
    backbone: str = "torchvision/resnet18"
    pretrained: bool = True
    freeze_backbone: bool = False
    backbone_learning_rate_scale: float | None = None
    channels: int = 128
    solver: str = "midpoint"
    num_steps: int | None = 1
    gradient: GradientName = "direct"

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        super().__post_init__()
        self.check_sizes(num_classes=self.num_classes)
        check_backbone_name(self.backbone)
        if self.in_channels not in (1, 3):
            raise ValueError(f"`in_channels` must be 1 or 3, got {self.in_channels}.")
        if self.backbone_learning_rate_scale is not None and self.backbone_learning_rate_scale <= 0:
            raise ValueError(
                "`backbone_learning_rate_scale` must be above 0, got "
                f"{self.backbone_learning_rate_scale}. Try freeze_backbone=True to keep it."
            )
        if self.channels < 32 or self.channels % 32:
            raise ValueError(f"`channels` must be a multiple of 32, got {self.channels}. Try 128.")


class BackboneODE(nn.Module):
    """A backbone, a 1x1 convolution to the state's width, one ODE block, a pooled linear head.

    Args:
        config: its configuration.
    """

    def __init__(self, config: BackboneODEConfig) -> None:
        """Build the parts, the backbone with fresh weights; `load_pretrained` loads trained ones.

        Raises:
            ValueError: there is no such backbone.
        """
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        if config.freeze_backbone:
            self.backbone.requires_grad_(False)
        self.neck = nn.Sequential(
            nn.Conv2d(feature_channels(self.backbone), config.channels, 1, bias=False),
            nn.GroupNorm(config.channels // 16, config.channels),
        )
        self.block = config.block(GatedConvField(config.channels))
        self.head = AverageHead(config.channels, config.num_classes)

    def load_pretrained(self) -> None:
        """Load the backbone's pretrained weights, if they are asked for; a new run calls this.

        Raises:
            BackboneDownloadError: they cannot be downloaded.
        """
        if self.config.pretrained:
            trained = build_backbone(self.config.backbone, pretrained=True)
            self.backbone.load_state_dict(trained.state_dict())

    def learning_rate_scale(self, name: str) -> float:
        """Factor on the learning rate of a parameter."""
        if not name.startswith("backbone."):
            return 1.0
        scale = self.config.backbone_learning_rate_scale
        return scale if scale is not None else (0.1 if self.config.pretrained else 1.0)

    def forward(self, images: Images) -> Logits:
        """Class scores of normalized images of 32 pixels a side or more."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        if self.config.freeze_backbone:
            # Here, and not when the mode is set, because whoever trains sets that of all layers.
            self.backbone.eval()
            with torch.no_grad():
                features = self.backbone(images)
        else:
            features = self.backbone(images)
        return self.head(self.block(self.neck(features)))

    def ode_blocks(self) -> list[ODEBlock]:
        """The one block."""
        return [self.block]
