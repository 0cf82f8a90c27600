"""Shape aliases shared by every folder; no logic."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Inexact
from torch import Tensor

State = Inexact[Tensor, "*shape"]
"""What a solver advances: a real or complex tensor of any rank."""

Scalar = Float[Tensor, ""]
"""A zero-dimensional real tensor, such as the time t that a vector field receives."""

Images = Float[Tensor, "batch channels height width"]
"""A batch of normalized images, or of feature maps made from them."""

FeatureMaps = Float[Tensor, "batch features rows columns"]
"""Feature maps of another width and resolution than the images they are made from."""


class Clips(NamedTuple):
    """A batch of clips: frames with their times, the shorter clips padded at their end.

    Attributes:
        frames: Normalized frames.
        seconds: Time of each frame, rising within a clip; a padded frame has that of the last one.
        mask: True for a frame, False for padding; the first one is always a frame.
    """

    frames: Float[Tensor, "batch time channels height width"]
    seconds: Float[Tensor, "batch time"]
    mask: Bool[Tensor, "batch time"]


Logits = Float[Tensor, "batch classes"]
"""Unnormalized class scores."""

Number = int | float
"""A plain number, such as a time or a tolerance that a user gives."""

VectorField = Callable[..., Any]
"""f(t, y) or f(t, y, *args): dy/dt, of y's shape and dtype, and nested like y."""
