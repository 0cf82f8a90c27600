"""Stems: from images to the feature map on which the first ODE starts."""

import torch
from torch import nn
from torch.nn import functional as F

from odevision.types import FeatureMaps, Images


class DownsamplingStem(nn.Sequential):
    """The paper's stem: three convolutions that take 28 x 28 to 6 x 6.

    Args:
        in_channels: channels of the images.
        channels: channels of the result.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        """Norm and ReLU stand between the convolutions."""
        groups = min(32, channels)
        super().__init__(
            nn.Conv2d(in_channels, channels, 3),
            nn.GroupNorm(groups, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 4, stride=2, padding=1),
            nn.GroupNorm(groups, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 4, stride=2, padding=1),
        )


class WhiteningStem(nn.Module):
    """A frozen convolution that whitens image patches, 2 x 2 pixels or larger, then GELU.

    Its filters are the eigenvectors of the patch covariance, each with both signs, divided by the
    square root of their eigenvalue. Only its bias trains. Reference: Jordan 2024, arXiv 2404.00498.

    Args:
        in_channels: channels of the images. The result has 8 times as many with stride 1, where
            every filter is kept, and 32 times as many with larger ones, where the patches are
            wider and only the filters of the largest eigenvalues are.
        stride: pixels from one patch to the next; a patch is twice as wide.
        epsilon: added to the eigenvalues, in units of the normalized pixels squared.
    """

    def __init__(self, in_channels: int, *, stride: int = 1, epsilon: float = 5e-4) -> None:
        """Start from random filters; `initialize_from` replaces them."""
        super().__init__()
        self.epsilon = epsilon
        self.out_channels = in_channels * (8 if stride == 1 else 32)
        self.conv = nn.Conv2d(in_channels, self.out_channels, 2 * stride, stride=stride)
        self.conv.weight.requires_grad_(False)

    @torch.no_grad()
    def initialize_from(self, images: Images) -> None:
        """Set the filters from training images, as normalized for the network."""
        channels, side = images.shape[1], self.conv.kernel_size[0]
        # On the host: not every device has float64 or eigenvalues.
        stride = self.conv.stride[0]
        patches = F.unfold(images.float().cpu(), side, stride=stride)
        patches = patches.transpose(1, 2).reshape(-1, channels * side**2)
        eigenvalues, vectors = torch.linalg.eigh(torch.cov(patches.T).double())
        filters = (vectors / (eigenvalues + self.epsilon).sqrt()).T
        filters = filters[-self.out_channels // 2 :].reshape(-1, channels, side, side)
        assert self.conv.bias is not None
        self.conv.weight.copy_(torch.cat([filters, -filters]).to(self.conv.weight))
        self.conv.bias.zero_()

    def forward(self, images: Images) -> FeatureMaps:
        """Whitened patches, one pixel smaller in height and width with stride 1."""
        return F.gelu(self.conv(images))
