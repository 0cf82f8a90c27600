"""odenet-stacked whose blocks solve an equation of second order: the state has a velocity."""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from odevision.models.odenet_stacked import ODENetStacked, ODENetStackedConfig
from odevision.models.registry import MODELS, ModelEntry
from odevision.nn.weight_norm_field import WeightNormField
from odevision.types import Images, Scalar

NAME = "benchmark-second-order"


class SecondOrderField(nn.Module):
    """dx/dt = v and dv/dt = f(t, x) - c v, over a state of x with v behind it as channels.

    Reference: Xia et al. 2021, "Heavy Ball Neural Ordinary Differential Equations",
        arXiv 2110.04840.

    Args:
        field: f, with a method `prepare`.
        channels: channels of x.
    """

    def __init__(self, field: WeightNormField, channels: int) -> None:
        """The damping c, one a channel, starts at 1."""
        super().__init__()
        self.field = field
        # Four dimensions mark a gain, as in WeightNormField.
        self.damping = nn.Parameter(torch.ones(channels, 1, 1, 1))

    def prepare(self, y: Images) -> tuple[Tensor, ...]:
        """What f makes of its weights once a solve."""
        return self.field.prepare(y)

    def forward(self, t: Scalar, y: Images, *prepared: Tensor) -> Images:
        """dy/dt, of y's shape."""
        x, velocity = y.chunk(2, dim=1)
        force = self.field(t, x, *prepared)
        return torch.cat([velocity, force - self.damping[:, 0] * velocity], dim=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecondOrderConfig(ODENetStackedConfig):
    """Configuration of odenet-stacked with blocks of second order, as many weights as of first."""

    def __post_init__(self) -> None:
        """Refuse fields that are no plain force."""
        super().__post_init__()
        if self.field != "weight-norm" or self.augment_channels:
            raise ValueError(
                f"`field` must be 'weight-norm' without `augment_channels`, got {self.field!r} "
                f"and {self.augment_channels}."
            )

    def extra_channels(self, width: int) -> int:
        """The velocity, which begins at zero and is dropped at the end."""
        return width

    def vector_field(self, width: int) -> nn.Module:
        """The field of a stage of this width."""
        return SecondOrderField(WeightNormField(width, time_weights=self.time_weights), width)


def register() -> None:
    """Enter it in the registry, so that it is trained, saved and loaded like any other."""
    build: Any = ODENetStacked
    MODELS[NAME] = ModelEntry(SecondOrderConfig, build, "odenet-stacked of second order")
