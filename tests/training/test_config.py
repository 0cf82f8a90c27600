import dataclasses
from typing import Any

import pytest
import yaml

from odevision.data.loader import Augmentation
from odevision.models.odenet import ODENetConfig
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.models.resnet import ResNetConfig
from odevision.training.config import (
    DataConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    from_yaml,
    to_yaml,
)


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(model=ODENetConfig()),
        TrainConfig(model=ResNetConfig(widths=None)),
        TrainConfig(
            recipe="strange: name # with 'quotes'",
            model=ODENetStackedConfig(widths=(16, 32), num_steps=3, rtol=1e-7),
            data=DataConfig(
                name="/data/my photos", limit=7, augmentation=Augmentation(flip="alternating")
            ),
            optimizer=OptimizerConfig(name="adamw", learning_rate=1e-05, weight_decay=1 / 3),
            schedule=ScheduleConfig(name="triangular", final_fraction=0.1),
            max_minutes=0.5,
            gradient_clip=1.0,
            ema_decay=0.999,
            precision="bf16",
            seed=2**32 - 1,
            weights_dtype="float16",
        ),
    ],
)
def test_yaml_round_trip_is_exact(config: TrainConfig) -> None:
    assert from_yaml(to_yaml(config)) == config


def test_yaml_names_the_model_first() -> None:
    assert list(yaml.safe_load(to_yaml(TrainConfig(model=ResNetConfig())))["model"])[0] == "name"


def test_yaml_may_leave_out_defaults() -> None:
    config = from_yaml("model: {name: odenet, channels: 32}\nepochs: 3\n")
    assert config == TrainConfig(model=ODENetConfig(channels=32), epochs=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {name: odenet}\nepoch: 3", 'Unknown key `epoch`. Did you mean "epochs"'),
        ("model: {name: odenet, chanels: 3}", '`model.chanels`. Did you mean "channels"'),
        ("model: {name: odnet}", '`model.name` must be .* Did you mean "odenet"'),
        ("model: {channels: 3}", "`model` must be a mapping with the key `name`"),
        ("model: {name: odenet, channels: many}", "`model.channels` must be of type int"),
        ("epochs: 3", "Missing key `model`"),
        ("model: {name: odenet}\noptimizer: {lr: 1.0}", "Unknown key `optimizer.lr`"),
        ("model: {name: odenet}\ndata: {augmentation: {flip: both}}", "`data.augmentation.flip`"),
        ("model: {name: odenet}\nprecision: fp8", "`precision` must be one of fp32, bf16"),
        ("model: {name: odenet}\noptimizer: {name: adma}", 'Did you mean "adamw"'),
        ("model: [", "not valid YAML"),
        ("- 1", "must be a YAML mapping"),
        ("", "must be a YAML mapping"),
    ],
)
def test_broken_yaml_is_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_yaml(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("label_smoothing", 1.0),
        ("ema_decay", 1.0),
        ("gradient_clip", 0.0),
        ("seed", -1),
        ("max_minutes", 0.0),
        ("checkpoint_every_minutes", -1.0),
        ("evaluate_every_epochs", 0),
        ("log_every_steps", 0),
    ],
)
def test_value_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{field}` must be"):
        dataclasses.replace(TrainConfig(model=ODENetConfig()), **{field: value})


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        (OptimizerConfig, "learning_rate", 0.0),
        (OptimizerConfig, "learning_rate", float("nan")),
        (OptimizerConfig, "weight_decay", -1.0),
        (OptimizerConfig, "momentum", 1.0),
        (ScheduleConfig, "warmup_fraction", 1.5),
        (DataConfig, "batch_size", 0),
        (DataConfig, "validation_fraction", 0.0),
        (DataConfig, "validation_fraction", 1.0),
        (DataConfig, "limit", 0),
    ],
)
def test_section_refuses_values_out_of_range(section: Any, field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}` must be"):
        section(**{field: value})
