"""DenseField: a vector field on vectors."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from odevision.types import Scalar


class DenseField(nn.Module):
    """f(t, y) = W2 GELU(W1 [y, t]), zero at the start, so that a block begins as the identity.

    Args:
        features: length of the state; the layer between is twice as wide.
    """

    def __init__(self, features: int) -> None:
        """Build two linear layers."""
        super().__init__()
        self.inner = nn.Linear(features + 1, 2 * features)
        self.outer = nn.Linear(2 * features, features)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(
        self, t: Scalar, y: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch features"]:
        """dy/dt, of y's shape."""
        time = t.to(y.dtype).expand(len(y), 1)
        return self.outer(F.gelu(self.inner(torch.cat([y, time], dim=1))))
