"""A run that takes a second: a small network, some embedded digits, ten steps an epoch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from odevision.data.loader import Augmentation
from odevision.models.odenet import ODENetConfig
from odevision.training.config import DataConfig, OptimizerConfig, TrainConfig

SmallConfig = Callable[..., TrainConfig]


@pytest.fixture
def small_config(tmp_path: Path) -> SmallConfig:
    def build(**changes: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "recipe": "small",
            "model": ODENetConfig(channels=4, solver="heun", num_steps=1),
            "data": DataConfig(
                name="mnist-mini",
                limit=80,
                batch_size=8,
                augmentation=Augmentation(crop_padding=1, flip="random"),
            ),
            "optimizer": OptimizerConfig(learning_rate=0.02),
            "epochs": 2,
            "device": "cpu",
            "out": str(tmp_path / "run"),
            "log_every_steps": 3,
            "checkpoint_every_minutes": 60.0,
        }
        return TrainConfig(**{**values, **changes})

    return build
