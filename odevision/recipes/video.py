"""Recipes for videos: an ODE after every recurrent layer, over the real gaps between the frames."""

from odevision.data.clip_augmentation import ClipAugmentation
from odevision.data.clip_sampling import ClipSampling
from odevision.models.video import VideoODERNNConfig
from odevision.training.config import OptimizerConfig, ScheduleConfig, TrainConfig
from odevision.training.video_data import VideoDataConfig


def motion() -> TrainConfig:
    """Clips made on the spot, told apart by how things move; offline, in minutes."""
    return TrainConfig(
        recipe="motion",
        model=VideoODERNNConfig(num_classes=10),
        data=VideoDataConfig(
            name="motion",
            batch_size=32,
            validation_fraction=0.1,
            height=32,
            width=32,
            sampling=ClipSampling(
                kind="irregular", num_frames=None, rate=8.0, rate_jitter=1.0, drop=0.25
            ),
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3, weight_decay=0.02),
        schedule=ScheduleConfig(name="triangular", warmup_fraction=0.1),
        epochs=20,
        gradient_clip=1.0,
        ema_decay=0.99,
    )


def ucf5() -> TrainConfig:
    """Five classes of UCF101."""
    return TrainConfig(
        recipe="ucf5",
        model=VideoODERNNConfig(num_classes=5),
        data=VideoDataConfig(
            name="ucf5",
            batch_size=16,
            validation_fraction=0.2,
            sampling=ClipSampling(kind="rate", num_frames=16, rate=8.0, rate_jitter=0.2),
            augmentation=ClipAugmentation(
                crop_padding=4, flip="random", scale=0.15, brightness=0.3, contrast=0.3
            ),
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=3e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="triangular", warmup_fraction=0.1),
        epochs=40,
        label_smoothing=0.1,
        gradient_clip=1.0,
        ema_decay=0.99,
    )
