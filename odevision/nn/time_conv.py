"""TimeConv2d: a convolution that sees the time as one more input channel, at no cost a call."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from odevision.types import Images, Scalar


class TimeConv2d(nn.Module):
    """conv([t, x]) of Chen et al. 2018, computed as conv(x) + b + t R with R = conv(1; W_t).

    The two are equal because a convolution is linear and t is constant over the image. R depends on
    the weights and the resolution only, so it is made once a solve; the concatenation, and the copy
    of x that autograd would keep for it, fall away.

    Args:
        in_channels: channels of x, without the time.
        out_channels: channels of the result.
        kernel_size: odd side of the square kernel; the padding keeps the resolution.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        """Draw the weights as nn.Conv2d(in_channels + 1, out_channels) would."""
        super().__init__()
        if kernel_size % 2 != 1:
            raise ValueError(f"`kernel_size` must be odd, got {kernel_size}. Try 3.")
        full = torch.empty(out_channels, in_channels + 1, kernel_size, kernel_size)
        nn.init.kaiming_uniform_(full, a=math.sqrt(5))
        bound = 1 / math.sqrt(full[0].numel())
        self.time_weight = nn.Parameter(full[:, :1].clone())
        self.weight = nn.Parameter(full[:, 1:].clone())
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))
        self.padding = kernel_size // 2

    def time_response(self, x: Images) -> Float[Tensor, "1 out_channels height width"]:
        """R: what one unit of time adds to the result, for images of x's resolution."""
        ones = torch.ones_like(self.time_weight[:1, :1, :1, :1]).expand(1, 1, *x.shape[-2:])
        return F.conv2d(ones, self.time_weight, padding=self.padding)

    def forward(
        self, t: Scalar, x: Images, time_response: Float[Tensor, "1 out_channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """conv([t, x]) at the resolution of x."""
        return F.conv2d(x, self.weight, self.bias, padding=self.padding) + t * time_response
