"""Heads: from the last feature map to class scores."""

from torch import nn
from torch.nn import functional as F

from odevision.types import Images, Logits


class AverageHead(nn.Sequential):
    """The paper's head: GroupNorm, ReLU, mean over the image, linear layer.

    Args:
        channels: channels of the feature map.
        num_classes: number of classes.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        """Build the one linear layer."""
        super().__init__(
            nn.GroupNorm(min(32, channels), channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, num_classes),
        )


class MaxHead(nn.Module):
    """Maximum over the image, a linear layer without bias, scores scaled down.

    Args:
        channels: channels of the feature map.
        num_classes: number of classes.
        normalize: begin with BatchNorm, whose gain stays at 1, and GELU.
        scale: factor on the scores; 1/9 keeps the first steps of a large learning rate calm.
    """

    def __init__(
        self, channels: int, num_classes: int, *, normalize: bool = False, scale: float = 1 / 9
    ) -> None:
        """Build the one linear layer, and the norm before it."""
        super().__init__()
        self.norm = nn.BatchNorm2d(channels) if normalize else None
        if self.norm is not None:
            self.norm.weight.requires_grad_(False)
        self.linear = nn.Linear(channels, num_classes, bias=False)
        self.scale = scale

    def forward(self, x: Images) -> Logits:
        """Class scores."""
        if self.norm is not None:
            x = F.gelu(self.norm(x))
        return self.linear(x.amax((2, 3))) * self.scale
