"""Recipes for videos: an ODE after every recurrent layer, over the real gaps between the frames."""

import dataclasses

from odevision.data.clip_augmentation import ClipAugmentation
from odevision.data.clip_sampling import ClipSampling
from odevision.models.video import VideoODERNNConfig
from odevision.training.config import OptimizerConfig, ScheduleConfig, TrainConfig
from odevision.training.video_data import VideoDataConfig

_MUON = OptimizerConfig(
    name="muon", learning_rate=0.05, weight_decay=5e-4, filter_learning_rate=0.05
)


def motion() -> TrainConfig:
    """Clips made on the spot, told apart by how things move; offline, in minutes.

    Command: odevision train motion
    Time: 5 minutes on one core of an AMD EPYC (Zen 4, bf16) beside other trainings.
    Result: 100 % of the 1,000 test clips, at other rates and with half of the frames dropped 99.9
        to 100 % (seed 0).
    """
    return TrainConfig(
        recipe="motion",
        model=VideoODERNNConfig(num_classes=10, rate=4.0),
        data=VideoDataConfig(
            name="motion",
            batch_size=32,
            validation_fraction=0.1,
            height=32,
            width=32,
            # Many rates and gaps, so that speed is told by time and not by frames.
            sampling=ClipSampling(
                kind="irregular", num_frames=16, rate=8.0, rate_jitter=1.0, drop=0.25
            ),
        ),
        optimizer=_MUON,
        schedule=ScheduleConfig(name="triangular", warmup_fraction=0.1),
        epochs=5,
        gradient_clip=1.0,
        ema_decay=0.99,
        precision="bf16",
    )


def ucf5() -> TrainConfig:
    """Five classes of UCF101, from scratch on a CPU: what moves, whatever it looks like.

    Command: odevision train ucf5 --data-root DATA
    Time: 25 minutes on one core of an AMD EPYC (Zen 5, bf16) beside another training.
    Result: 96.5 ± 1.1 % of 105 test videos (3 seeds, the last epoch's weights).
    """
    return TrainConfig(
        recipe="ucf5",
        model=VideoODERNNConfig(num_classes=5, widths=(24, 32), frame_blocks=1, frame_input="flow"),
        data=VideoDataConfig(
            name="ucf5",
            batch_size=16,
            validation_fraction=0.06,
            sampling=ClipSampling(kind="rate", num_frames=48, rate=12.0, rate_jitter=0.5),
            # Some 17 groups a class show too few views of a lunge: drawn people show the rest.
            exercises=250,
            # And they look alike too easily: strong changes, the more the better.
            augmentation=ClipAugmentation(
                reverse=0.5,
                crop_padding=6,
                flip="random",
                rotation_degrees=10.0,
                scale=0.3,
                brightness=0.4,
                contrast=0.4,
                grayscale=0.5,
                invert=0.5,
                cutout=16,
            ),
        ),
        optimizer=_MUON,
        # Low rates learn the training videos by heart; the mean of the weights is smooth instead.
        schedule=ScheduleConfig(name="triangular", warmup_fraction=0.1, final_fraction=0.6),
        epochs=24,
        label_smoothing=0.1,
        gradient_clip=1.0,
        ema_decay=0.995,
        evaluate_every_epochs=6,
        precision="bf16",
        weights_dtype="float16",
    )


def ucf101() -> TrainConfig:
    """All 101 classes of UCF101 in an official split, 15.7 M parameters; for one GPU.

    Command: odevision train ucf101 --data-root DATA
    Time: not run on the 13,320 videos. Made for a few hours of one GPU.
    Result: not measured.
    """
    base = ucf5()
    assert isinstance(base.data, VideoDataConfig)
    return dataclasses.replace(
        base,
        recipe="ucf101",
        epochs=30,
        # Places and things belong to most of the many actions, so frames are seen, too.
        model=VideoODERNNConfig(
            num_classes=101,
            stem_width=64,
            widths=(128, 192, 256),
            frame_blocks=1,
            frame_input="both",
        ),
        data=dataclasses.replace(
            base.data,
            name="ucf101",
            exercises=0,
            batch_size=32,
            height=96,
            width=128,
            augmentation=dataclasses.replace(
                base.data.augmentation,
                reverse=0.0,  # Sitting down is not standing up.
                crop_padding=12,
                cutout=32,
                invert=0.0,
                grayscale=0.2,
            ),
        ),
    )


def hmdb51() -> TrainConfig:
    """All 51 classes of HMDB51 in an official split, 15.7 M parameters; for one GPU.

    Command: odevision train hmdb51 --data-root DATA
    Time: not run on the 6,766 videos. Made for a few hours of one GPU.
    Result: not measured.
    """
    base = ucf101()
    assert isinstance(base.data, VideoDataConfig)
    return dataclasses.replace(
        base,
        recipe="hmdb51",
        model=dataclasses.replace(base.model, num_classes=51),
        data=dataclasses.replace(base.data, name="hmdb51"),
    )
