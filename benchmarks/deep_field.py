"""odenet-stacked with several convolutions in its vector fields."""

import dataclasses
from typing import Any

from torch import Tensor, nn

from odevision.models.odenet_stacked import ODENetStacked, ODENetStackedConfig
from odevision.models.registry import MODELS, ModelEntry
from odevision.nn.weight_norm_field import WeightNormField
from odevision.types import Images, Scalar

NAME = "benchmark-deep-field"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepFieldConfig(ODENetStackedConfig):
    """Configuration of odenet-stacked with weight-normalized fields of several layers.

    Attributes:
        field_layers: convolutions in each vector field.
    """

    field_layers: int = 2

    def __post_init__(self) -> None:
        """Refuse what has no layers."""
        super().__post_init__()
        self.check_sizes(field_layers=self.field_layers)
        if self.field != "weight-norm":
            raise ValueError(f"`field` must be 'weight-norm', got {self.field!r}.")

    def vector_field(self, width: int) -> nn.Module:
        """The field of a stage of this width, the appended channels included."""
        channels = width + self.extra_channels(width)
        return DeepField(channels, self.field_layers, time_weights=self.time_weights)


class DeepField(nn.Module):
    """f(t, y) = f_n(t, ... f_1(t, y)), with each f_i = W_i(t) * GELU(.) + b_i(t).

    Args:
        channels: channels of the state.
        layers: n, at least 1.
        time_weights: whether the filters move with the time.
    """

    def __init__(self, channels: int, layers: int, *, time_weights: bool = False) -> None:
        """The inner layers keep the size of the feature map; the last one starts below it."""
        super().__init__()
        # GELU halves the mean square and the filters of norm 1 keep it: 2 makes up for it.
        gains = [2.0] * (layers - 1) + [0.5]
        self.layers = nn.ModuleList(
            WeightNormField(channels, gain=gain, time_weights=time_weights) for gain in gains
        )

    def _fields(self) -> list[WeightNormField]:
        return [layer for layer in self.layers if isinstance(layer, WeightNormField)]

    def prepare(self, y: Images) -> tuple[Tensor, ...]:
        """The filters of all layers, one after the other."""
        return tuple(tensor for field in self._fields() for tensor in field.prepare(y))

    def forward(self, t: Scalar, y: Images, *prepared: Tensor) -> Images:
        """dy/dt, of y's shape."""
        fields = self._fields()
        per_layer = len(prepared) // len(fields)
        for i, field in enumerate(fields):
            y = field(t, y, *prepared[i * per_layer : (i + 1) * per_layer])
        return y


def register() -> None:
    """Enter it in the registry, so that it is trained, saved and loaded like any other."""
    build: Any = ODENetStacked
    MODELS[NAME] = ModelEntry(DeepFieldConfig, build, "odenet-stacked with deep vector fields")
