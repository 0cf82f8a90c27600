"""A run of seconds: to try a machine, a change, or what follows a training."""

from odevision.models.odenet import ODENetConfig
from odevision.training.config import DataConfig, OptimizerConfig, TrainConfig


def debug() -> TrainConfig:
    """A narrow ODE-Net on 512 of the embedded digits.

    Command: odevision train debug
    Time: 2 seconds on 2 CPU cores (Zen 4), after the start.
    Result: none to speak of; 16 steps leave it near chance.
    """
    return TrainConfig(
        recipe="debug",
        model=ODENetConfig(channels=16, solver="rk4", num_steps=1),
        data=DataConfig(name="mnist-mini", batch_size=64, limit=512),
        optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3, weight_decay=0.01),
        epochs=2,
    )
