"""The networks without an ODE that stand beside odenet-stacked, with all else as it has it."""

import dataclasses
from typing import Any

from torch import nn

from odevision.models.entry import ModelEntry
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.models.registry import MODELS
from odevision.models.resnet import ResNet, ResNetConfig
from odevision.nn.transition import PlainLayer, Transition

NAME = "benchmark-plain"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainConfig(ResNetConfig):
    """Configuration of a ResNet whose blocks are convolution, BatchNorm, GELU, without a shortcut.

    With one block a stage that is airbench's group: conv, pool, BN, GELU, conv, BN, GELU (Jordan
    2024, arXiv 2404.00498).
    """


def baseline_of(
    config: ODENetStackedConfig, *, residual: bool, blocks_per_stage: int
) -> ResNetConfig:
    """The baseline of an ODE network, with its widths, stem, transitions and head.

    Args:
        config: of the ODE network.
        residual: whether it is the ResNet, or the plain network.
        blocks_per_stage: blocks where the ODE network has one ODE.
    """
    kind = ResNetConfig if residual else PlainConfig
    return kind(
        in_channels=config.in_channels,
        num_classes=config.num_classes,
        like="odenet-stacked",
        widths=config.widths,
        field=config.field,
        transition_convs=config.transition_convs,
        # A plain block ends with BatchNorm and GELU already.
        final_norm=config.final_norm and residual,
        stem_stride=config.stem_stride,
        blocks_per_stage=blocks_per_stage,
    )


def build_plain(config: PlainConfig) -> ResNet:
    """Build a ResNet and exchange its blocks; what stands between them stays."""
    network = ResNet(config)
    stages: list[nn.Module] = []
    transitions = [stage for stage in network.stages if isinstance(stage, Transition)]
    for transition, width in zip(transitions, config.widths or (64, 256, 256), strict=True):
        stages += [transition, *(PlainLayer(width) for _ in range(config.blocks_per_stage))]
    network.stages = nn.Sequential(*stages)
    return network


def register() -> None:
    """Enter it in the registry, so that it is trained, saved and loaded like any other."""
    build: Any = build_plain
    MODELS[NAME] = ModelEntry(PlainConfig, build, "the benchmarks' network without shortcuts")
