"""The registry of networks: every name, what builds it, and one line about it."""

import dataclasses
from typing import Any

from odevision.models.backbone_ode import BackboneODE, BackboneODEConfig
from odevision.models.entry import ModelEntry
from odevision.models.odenet import ODENet, ODENetConfig
from odevision.models.odenet_stacked import ODENetStacked, ODENetStackedConfig
from odevision.models.resnet import ResNet, ResNetConfig
from odevision.models.video_registry import VIDEO_MODELS, VideoConfig, VideoModel
from odevision.solve import unknown_name

ImageConfig = ODENetConfig | ODENetStackedConfig | ResNetConfig | BackboneODEConfig
ModelConfig = ImageConfig | VideoConfig
ImageModel = ODENet | ODENetStacked | ResNet | BackboneODE
Model = ImageModel | VideoModel


MODELS: dict[str, ModelEntry] = {
    "odenet": ModelEntry(
        ODENetConfig, ODENet, "the paper's network: stem, one ODE block of 64 channels, head"
    ),
    "odenet-stacked": ModelEntry(
        ODENetStackedConfig, ODENetStacked, "ODE blocks at falling resolutions, rising widths"
    ),
    "resnet": ModelEntry(
        ResNetConfig, ResNet, "the baseline: residual blocks where an ODE network has ODEs"
    ),
    "backbone-ode": ModelEntry(
        BackboneODEConfig,
        BackboneODE,
        "fine-tuning: an ODE block behind a torchvision or timm network",
    ),
    **VIDEO_MODELS,
}


def list_models() -> list[str]:
    """Names of the networks that `create_model` builds."""
    return list(MODELS)


def create_model(name: str, **fields: Any) -> Model:
    """Build a network by name, with fresh weights.

    Args:
        name: one of `list_models()`.
        **fields: fields of its configuration, such as num_classes, in_channels, solver, num_steps;
            the configuration class is `MODELS[name].config`.

    Raises:
        ValueError: there is no such network or field, or a value is out of range.
    """
    return build_model(config_from_dict(name, fields))


def build_model(config: ModelConfig) -> Model:
    """Build the network that a configuration describes, with fresh weights."""
    return MODELS[model_name(config)].model(config)


def model_name(config: ModelConfig) -> str:
    """Name of the network that a configuration belongs to."""
    return next(name for name, entry in MODELS.items() if entry.config is type(config))


def takes_videos(config: ModelConfig) -> bool:
    """Whether the network that a configuration describes takes clips, not images."""
    return isinstance(config, VideoConfig)


def config_from_dict(name: str, fields: dict[str, Any]) -> ModelConfig:
    """Configuration of a network from plain values, as a checkpoint's card holds them.

    Raises:
        ValueError: there is no such network or field, or a value is out of range.
    """
    if name not in MODELS:
        raise ValueError(unknown_name("name", name, MODELS))
    config = MODELS[name].config
    known = [field.name for field in dataclasses.fields(config)]
    for key in fields:
        if key not in known:
            raise ValueError(unknown_name(f"field of {name}", key, known))
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return config(**values)


def total_nfe(model: Model) -> int:
    """Evaluations of all vector fields in the model's latest forward pass; 0 without ODE blocks."""
    blocks = model.ode_blocks()
    return sum(block.last_stats.nfe_forward for block in blocks if block.last_stats is not None)
