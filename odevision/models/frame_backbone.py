"""FrameBackbone: the frames of a video through a torchvision or timm network, one by one."""

import contextlib

import torch
from torch import nn

from odevision.models.backbone import build_backbone, feature_channels
from odevision.types import FeatureMaps, Images


class FrameBackbone(nn.Module):
    """A backbone's feature maps of each frame, brought to another width by a 1x1 convolution.

    Its BatchNorm layers keep their statistics, also in training: those of a batch would depend on
    how many frames come at once. Their gains and biases learn with its other weights.

    Args:
        backbone: torchvision/NAME or timm/NAME.
        channels: channels after, a multiple of 8.
        freeze: keep all of the backbone's weights as they are.
    """

    def __init__(self, backbone: str, channels: int, *, freeze: bool = False) -> None:
        """Build the backbone with fresh weights; `load_pretrained` loads trained ones.

        Raises:
            ValueError: there is no such backbone.
        """
        super().__init__()
        self.name, self.freeze = backbone, freeze
        self.backbone = build_backbone(backbone)
        if freeze:
            self.backbone.requires_grad_(False)
        self.neck = nn.Sequential(
            nn.Conv2d(feature_channels(self.backbone), channels, 1, bias=False),
            nn.GroupNorm(8, channels),
            nn.GELU(),
        )
        self._sizes: dict[tuple[int, int], tuple[int, int]] = {}

    def forward(self, frames: Images) -> FeatureMaps:
        """Feature maps of normalized frames of 32 pixels a side or more."""
        if frames.shape[1] == 1:
            frames = frames.expand(-1, 3, -1, -1)
        # Here, and not when the mode is set, because whoever trains sets that of all layers.
        self.backbone.eval()
        with torch.no_grad() if self.freeze else contextlib.nullcontext():
            maps = self.backbone(frames)
        return self.neck(maps)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the feature maps of frames of this height and width."""
        if (height, width) not in self._sizes:
            weight = next(self.backbone.parameters())
            with torch.no_grad():
                maps = self.backbone.eval()(weight.new_zeros(1, 3, height, width))
            self._sizes[height, width] = (maps.shape[2], maps.shape[3])
        return self._sizes[height, width]

    def load_pretrained(self) -> None:
        """Load the library's default weights.

        Raises:
            BackboneDownloadError: they cannot be downloaded.
        """
        self.backbone.load_state_dict(build_backbone(self.name, pretrained=True).state_dict())
