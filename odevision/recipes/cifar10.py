"""Recipes for CIFAR-10: photos of ten classes, 32 x 32 pixels."""

from odevision.data.augmentation import Augmentation
from odevision.models.odenet import ODENetConfig
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.training.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig


def cifar10() -> TrainConfig:
    """Three stacked ODE blocks, one midpoint step each, on a whitening stem.

    Command: odevision train cifar10 --data-root DATA
    Time: 39 minutes on 2 CPU cores (Zen 4), the first 15 of them shared with other work.
    Result: 90.79 % of the test images (1 seed, the last epoch's weights).
    """
    return TrainConfig(
        recipe="cifar10",
        model=ODENetStackedConfig(solver="midpoint", num_steps=1, gradient="direct"),
        data=DataConfig(
            name="cifar10",
            batch_size=512,
            validation_fraction=0.05,
            augmentation=Augmentation(crop_padding=2, flip="alternating", cutout=8),
        ),
        # Batches of 512 at half the rate of the published recipe's 1,024: more steps an epoch.
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.75,
            weight_decay=1.33e-3,
            momentum=0.85,
            norm_bias_learning_rate_scale=64.0,
        ),
        schedule=ScheduleConfig(
            name="triangular", warmup_fraction=0.23, start_fraction=0.2, final_fraction=0.03
        ),
        epochs=10,
        label_smoothing=0.2,
        ema_decay=0.99,
        precision="bf16",
        channels_last=True,
        weights_dtype="float16",
    )


def cifar10_report() -> TrainConfig:
    """The student report's set-up, as far as it is stated: six layers, one ODE block, 160 epochs.

    Command: odevision train cifar10-report --data-root DATA
    Time: not run to its end here; days on 2 CPU cores, made for a GPU.
    Result: the report states about 85 %.
    """
    return TrainConfig(
        recipe="cifar10-report",
        model=ODENetConfig(in_channels=3, solver="dopri5", rtol=1e-3, atol=1e-3),
        data=DataConfig(
            name="cifar10",
            batch_size=128,
            augmentation=Augmentation(crop_padding=4, flip="random"),
        ),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.1, weight_decay=5e-4, momentum=0.9),
        schedule=ScheduleConfig(name="cosine", warmup_fraction=0.02),
        epochs=160,
    )
