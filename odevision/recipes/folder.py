"""A recipe for one's own images: any folder DIR/train/CLASS/IMAGE, at any image size."""

import dataclasses

from odevision.data.augmentation import Augmentation
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.training.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig

FOLDER_PLACEHOLDER = "DIR"
"""Stands for the folder until one is named with --data."""

_WIDTHS = {
    1: (64,),
    2: (64, 256),
    3: (64, 256, 256),  # Those of the CIFAR-10 recipe.
    4: (64, 128, 256, 512),
}

_STEM_STRIDES = ((128, 4), (64, 2), (0, 1))
"""From which image size on the stem strides by how many pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderPlan:
    """What of a training depends on the image size.

    Args:
        stem_stride: Pixels from one patch of the stem to the next.
        widths: Channels of each stage; each stage halves the resolution.
        batch_size: Images a step.
    """

    stem_stride: int
    widths: tuple[int, ...]
    batch_size: int


def plan_for(image_size: int) -> FolderPlan:
    """Scale network and batches with the image size.

    Large images are read in overlapping patches by the stem, every 2 pixels from 64 on and every 4
    from 128 on, as the stems of ResNets do. There are as many stages, up to four, as leave a last
    feature map of at least 3 x 3: three for 32, 64 and 128 pixels, four for 224.

    Args:
        image_size: Height and width of the images, in pixels, at least 8.

    Returns:
        The plan.

    Raises:
        ValueError: If the images are smaller.
    """
    if image_size < 8:
        raise ValueError(f"`image_size` must be at least 8 pixels, got {image_size}. Try 64.")
    stride = next(stride for least, stride in _STEM_STRIDES if image_size >= least)
    # Patches are twice as wide as the stride; each stage then rounds down.
    side = image_size // stride - 1
    num_stages = max(n for n in _WIDTHS if n == 1 or side >> n >= 3)
    # Small batches: a folder of a few hundred images must still give some steps an epoch.
    return FolderPlan(
        stem_stride=stride,
        widths=_WIDTHS[num_stages],
        batch_size=64 if image_size <= 32 else 32,
    )


def folder(image_size: int = 64) -> TrainConfig:
    """Your own images: any folder DIR/train/CLASS/IMAGE, stages scaled with the image size.

    Command: odevision train folder --data DIR --data.image-size 64
    Time: 0.01 s an image and epoch at 64 pixels on one core (Zen 4, shared).
    Result: 79.4 % of 180 images held back, after 10 epochs of 162 images (three classes of
    CIFAR-10, enlarged to 64 pixels; 1 seed, no pretrained weights).

    Args:
        image_size: Height and width to resize images to, in pixels.
    """
    plan = plan_for(image_size)
    return TrainConfig(
        recipe="folder",
        model=ODENetStackedConfig(
            widths=plan.widths,
            stem_stride=plan.stem_stride,
            field="weight-norm",
            final_norm=True,
            solver="midpoint",
            num_steps=1,
            gradient="direct",
        ),
        data=DataConfig(
            name=FOLDER_PLACEHOLDER,
            batch_size=plan.batch_size,
            image_size=image_size,
            augmentation=Augmentation(
                crop_scale=(0.35, 1.0),
                flip="random",
                brightness=0.2,
                contrast=0.2,
                saturation=0.2,
                jpeg=0.1,
                erasing=0.1,
            ),
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=2e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_fraction=0.1),
        epochs=50,
        step_error_weight=0.05,
        label_smoothing=0.1,
        gradient_clip=1.0,
        ema_decay=0.998,
        precision="bf16",
        channels_last=True,
    )
