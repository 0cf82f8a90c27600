"""TextbookField: the paper's vector field as users of other libraries write it."""

import torch
from torch import Tensor, nn

from odevision.nn import ConvField


class TextbookField(nn.Module):
    """The same function as `ConvField`, with the time concatenated as a channel.

    Args:
        like: our field, whose weights are copied.

    Attributes:
        nfe: calls so far.
        counts: whether calls are counted; a count would make torch.compile start anew at each call.
    """

    def __init__(self, like: ConvField) -> None:
        """Copy the weights of our field."""
        super().__init__()
        self.norms = nn.ModuleList([like.norm1, like.norm2, like.norm3])
        self.convs = nn.ModuleList()
        for ours in (like.conv1, like.conv2):
            conv = nn.Conv2d(ours.weight.shape[1] + 1, ours.weight.shape[0], 3, padding=1)
            with torch.no_grad():
                conv.weight.copy_(torch.cat([ours.time_weight, ours.weight], 1))
                assert conv.bias is not None
                conv.bias.copy_(ours.bias)
            self.convs.append(conv)
        self.nfe = 0
        self.counts = True

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt; t holds one time, or one a sample, shape (batch, 1, 1, 1)."""
        if self.counts:
            self.nfe += 1
        x = y
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = torch.relu(norm(x))
            x = conv(torch.cat([torch.ones_like(x[:, :1]) * t, x], 1))
        return self.norms[2](x)
