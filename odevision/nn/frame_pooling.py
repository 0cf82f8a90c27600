"""Pooling over time as running statistics: an answer after every frame, memory for one."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class PooledFrames(NamedTuple):
    """Running statistics of frame features; with equal weights for every frame, their mean.

    Attributes:
        largest: Largest score so far, which the weights are taken relative to; it keeps exp finite.
        weight: Sum of the weights.
        total: Weighted sum of the features.
    """

    largest: Float[Tensor, " batch"]
    weight: Float[Tensor, " batch"]
    total: Float[Tensor, "batch features"]

    @property
    def value(self) -> Float[Tensor, "batch features"]:
        """The weighted mean; zeros before the first frame."""
        return self.total / self.weight.clamp(min=1e-30)[:, None]

    def faded(self, share: Float[Tensor, " batch"]) -> "PooledFrames":
        """The same mean, of which `share` (0 to 1) counts beside the frames that come next."""
        share = share.to(self.weight.dtype)
        return self._replace(weight=share * self.weight, total=share[:, None] * self.total)


class FramePooling(nn.Module):
    """Weighted mean over the frames so far, by weights exp(score) as in attention, or equal ones.

    The softmax over frames is taken online (Milakov and Gimelshein 2018, arXiv 1805.02867): sums
    are kept relative to the largest score so far, so that frames can come one at a time.

    Args:
        features: features a frame.
        attention: learn a score a frame, zero at the start; otherwise all weigh the same.
    """

    def __init__(self, features: int, *, attention: bool = False) -> None:
        """Build the linear layer that scores, if there is one."""
        super().__init__()
        self.features = features
        # Without a bias, which would cancel.
        self.score = nn.Linear(features, 1, bias=False) if attention else None
        if self.score is not None:
            nn.init.zeros_(self.score.weight)

    def initial(
        self, batch: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> PooledFrames:
        """Statistics of no frame."""
        return PooledFrames(
            largest=torch.full((batch,), -torch.inf, device=device, dtype=dtype),
            weight=torch.zeros(batch, device=device, dtype=dtype),
            total=torch.zeros(batch, self.features, device=device, dtype=dtype),
        )

    def forward(
        self,
        pooled: PooledFrames,
        frames: Float[Tensor, "batch time features"],
        mask: Bool[Tensor, "batch time"],
    ) -> PooledFrames:
        """Take in frames; padded ones change nothing."""
        frames = frames.to(pooled.total.dtype)
        scores = frames.new_zeros(frames.shape[:2])
        if self.score is not None:
            scores = self.score(frames).squeeze(2).to(frames.dtype)
        scores = scores.masked_fill(~mask, -torch.inf)
        # What the weights are relative to cancels in their mean, so no gradient passes it.
        before = pooled.largest.detach()
        largest = torch.maximum(before, scores.detach().amax(dim=1))
        # Relative to a finite number also where there is no frame yet: inf - inf would be NaN.
        origin = largest.where(largest.isfinite(), 0.0)
        faded = torch.exp(before - origin)
        weights = torch.exp(scores - origin[:, None])
        return PooledFrames(
            largest=largest,
            weight=faded * pooled.weight + weights.sum(dim=1),
            total=faded[:, None] * pooled.total + (weights[:, :, None] * frames).sum(dim=1),
        )
