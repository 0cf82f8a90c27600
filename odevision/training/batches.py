"""The images or clips of a run: the training and the validation part, as batches."""

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.data.clip_loader import ClipLoader
from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.clip_source import ClipSource, MixedClips
from odevision.data.exercises.exercise_set import EXERCISE_CLASSES, further_exercises
from odevision.data.loader import BatchLoader
from odevision.data.preprocessing import Preprocessing
from odevision.data.sources import dataset_info, load_split, preprocessing_for
from odevision.data.video_sources import load_video_split
from odevision.models.backbone import pretrained_statistics
from odevision.models.input_size import check_input_size
from odevision.models.registry import Model
from odevision.training.config import DataConfig, TrainConfig
from odevision.training.progressive import training_side
from odevision.training.video_data import VideoDataConfig
from odevision.types import Clips

NUM_INITIAL_IMAGES = 5_000
INITIAL_BYTES = 256 * 2**20

AnyPreprocessing = TypeVar("AnyPreprocessing", Preprocessing, ClipPreprocessing)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a run is trained and validated on. The test images or videos are not among it.

    Args:
        training: shuffled and augmented batches.
        validation: batches in a fixed order.
        preprocessing: goes into the checkpoint's card.
        class_names: one a label.
    """

    training: BatchLoader | ClipLoader
    validation: BatchLoader | ClipLoader
    preprocessing: Preprocessing | ClipPreprocessing
    class_names: tuple[str, ...]


def load_training_data(config: TrainConfig, device: torch.device) -> TrainingData:
    """Load the images or videos and check that the model fits them.

    Args:
        config: of the run.
        device: where batches are wanted.

    Returns:
        Both parts.

    Raises:
        ValueError: if the model has another number of classes or channels than the data.
        DataNotFoundError: if the data set is not there.
    """
    if isinstance(config.data, VideoDataConfig):
        return _load_videos(config, config.data, device)
    return _load_images(config, config.data, device)


def _load_images(config: TrainConfig, data: DataConfig, device: torch.device) -> TrainingData:
    root = config.data_root
    info = dataset_info(data.name, data_root=root, image_size=data.image_size)
    preprocessing = _suited(preprocessing_for(info), config)
    _check_model(config, len(info.class_names), info.num_channels)
    smallest, full = data.progressive_size, preprocessing.image_size
    if smallest is not None and smallest >= full:
        raise ValueError(
            f"`data.progressive_size` must be smaller than the images ({full} pixels), got "
            f"{smallest}. Try {full * 3 // 4}, or leave it out to train on full images."
        )
    training, validation = (
        load_split(
            data.name,
            split,
            data_root=root,
            validation_fraction=data.validation_fraction,
            image_size=data.image_size,
            limit=data.limit,
            in_memory_bytes=data.in_memory_bytes,
        )
        for split in ("train", "validation")
    )
    return TrainingData(
        training=BatchLoader(
            training,
            preprocessing,
            batch_size=data.batch_size,
            device=device,
            augmentation=data.augmentation,
            shuffle=True,
            seed=config.seed,
            # A small last batch would have a noisy gradient, and statistics of a BatchNorm.
            drop_last=len(training) >= data.batch_size,
            num_workers=data.num_workers,
        ),
        validation=BatchLoader(
            validation,
            preprocessing,
            batch_size=data.batch_size,
            device=device,
            shuffle=False,
            seed=config.seed,
            num_workers=data.num_workers,
        ),
        preprocessing=preprocessing,
        class_names=tuple(info.class_names),
    )


def _suited(preprocessing: AnyPreprocessing, config: TrainConfig) -> AnyPreprocessing:
    """Normalize as a pretrained backbone was used to, where the model has one."""
    backbone = getattr(config.model, "backbone", None)
    if backbone is None or not getattr(config.model, "pretrained", False):
        return preprocessing
    mean, std = pretrained_statistics(backbone)
    if len(preprocessing.mean) == 1:  # gray images go to all three channels
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return dataclasses.replace(preprocessing, mean=mean, std=std)


def _load_videos(config: TrainConfig, data: VideoDataConfig, device: torch.device) -> TrainingData:
    preprocessing = _suited(data.preprocessing, config)
    training, validation = (
        load_video_split(
            data.name,
            split,
            preprocessing=preprocessing,
            data_root=config.data_root,
            validation_fraction=data.validation_fraction,
            split_index=data.split_index,
            limit=data.limit,
            cache_dir=data.cache_dir,
        )
        for split in ("train", "validation")
    )
    _check_model(config, len(training.class_names), 3)
    if data.exercises:
        missing = [name for name in EXERCISE_CLASSES if name not in training.class_names]
        if missing:
            raise ValueError(
                f"`data.exercises` must be 0 for {data.name}, which lacks the class {missing[0]} "
                f"of drawn people, got {data.exercises}. Try --data.exercises 0."
            )
    num_drawn = min(data.exercises, data.limit or data.exercises)

    def training_clips(epoch: int) -> ClipSource:
        if num_drawn == 0:
            return training
        return MixedClips(training, further_exercises(num_drawn, preprocessing.size, epoch=epoch))

    return TrainingData(
        training=ClipLoader(
            training_clips,
            preprocessing,
            sampling=data.sampling,
            batch_size=data.batch_size,
            device=device,
            augmentation=data.augmentation,
            shuffle=True,
            seed=config.seed,
            drop_last=len(training) + num_drawn >= data.batch_size,
        ),
        validation=ClipLoader(
            validation,
            preprocessing,
            sampling=data.validation_sampling,
            batch_size=data.batch_size,
            device=device,
            shuffle=False,
            seed=config.seed,
        ),
        preprocessing=preprocessing,
        class_names=training.class_names,
    )


def check_sizes(model: Model, config: TrainConfig, data: TrainingData) -> None:
    """Refuse images or frames that are too small for the network.

    Args:
        model: on the device of the data.
        config: of the run.
        data: of the run.

    Raises:
        ValueError: it cannot take the smallest ones that it would be shown.
    """
    device = data.training.device
    if isinstance(data.preprocessing, ClipPreprocessing):
        height, width = data.preprocessing.size
        clips = Clips(
            torch.zeros(1, 1, 3, height, width, device=device),
            torch.zeros(1, 1, device=device),
            torch.ones(1, 1, dtype=torch.bool, device=device),
        )
        name = "data.height and data.width"
        check_input_size(model, clips, name=name, given=f"{height} and {width}")
        return
    assert isinstance(config.data, DataConfig)
    full = data.preprocessing.image_size
    side = training_side(config.data, 0, full, epochs=config.epochs)
    name = "data.image_size" if side == full else "data.progressive_size"
    images = torch.zeros(1, data.preprocessing.num_channels, side, side, device=device)
    check_input_size(model, images, name=name, given=side)


def initial_images(data: TrainingData, seed: int) -> Float[Tensor, "num channels height width"]:
    """Take training images for an initialization that depends on the data.

    Args:
        data: of the run, whose model takes images.
        seed: of the run; which images depends on it.

    Returns:
        Up to 5,000 images (fewer, if they are large), normalized, not augmented.
    """
    training, preprocessing = data.training, data.preprocessing
    assert isinstance(training, BatchLoader) and isinstance(preprocessing, Preprocessing)
    size = preprocessing.num_channels * preprocessing.image_size**2 * 4
    number = max(1, min(NUM_INITIAL_IMAGES, len(training.image_set), INITIAL_BYTES // size))
    loader = BatchLoader(
        training.image_set,
        preprocessing,
        batch_size=number,
        device=training.device,
        shuffle=True,  # folders are sorted by class
        seed=seed,
        num_workers=training.num_workers,
    )
    batches = loader.epoch(0)
    images, _ = next(iter(batches))
    return images


def _check_model(config: TrainConfig, num_classes: int, num_channels: int) -> None:
    for name, needed in (("num_classes", num_classes), ("in_channels", num_channels)):
        given = getattr(config.model, name)
        if given != needed:
            option = name.replace("_", "-")
            raise ValueError(
                f"`model.{name}` must be {needed} for {config.data.name}, got {given}. "
                f"Try --model.{option} {needed}."
            )
