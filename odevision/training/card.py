"""What a checkpoint says of its network, and the network made from it."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a network is, in plain values.

    Args:
        model_name: registry name.
        model: fields of the model config.
        preprocessing: `Preprocessing.to_dict()`, or `ClipPreprocessing.to_dict()`.
        class_names: one name a logit.
        dataset: what it was trained on.
        solver: solver, num_steps, rtol, atol of its ODE blocks; empty without any.
        metrics: validation accuracy and loss, epochs, seconds, NFE a forward pass.
        versions: of odevision, torch and python.
        recipe: name of the training recipe.
        seed: of the training run.
        step: optimizer steps taken.
        epoch: epochs finished.
        num_parameters: trained and frozen ones.
        validation_fraction: part of the training images that was held out; None if not noted.
        split_index: which official split of a video data set it was trained on; None for others.
        calibration: what `odevision calibrate` found; empty before it.
    """

    model_name: str
    model: dict[str, Any]
    preprocessing: dict[str, Any]
    class_names: tuple[str, ...]
    dataset: str
    solver: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    recipe: str = "custom"
    seed: int = 0
    step: int = 0
    epoch: int = 0
    num_parameters: int = 0
    validation_fraction: float | None = None
    split_index: int | None = None
    calibration: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write the card as indented JSON.

        Returns:
            JSON text.
        """
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"
        # What is no UTF-8, in the name of a folder, becomes an escape, which JSON reads.
        return text.encode(errors="backslashreplace").decode()


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network ready to be used.

    Args:
        model: in evaluation mode, on its device.
        card: what it is; its `solver` and `model` include the overrides given on loading.
        input_preprocessing: turns pictures or videos into the model's input, as in validation.
        path: the checkpoint directory.
    """

    model: nn.Module
    card: Card
    input_preprocessing: Preprocessing | ClipPreprocessing
    path: Path

    @property
    def takes_videos(self) -> bool:
        """Whether it classifies videos, not images."""
        return isinstance(self.input_preprocessing, ClipPreprocessing)

    @property
    def preprocessing(self) -> Preprocessing:
        """That of a network of images.

        Raises:
            ValueError: the network takes videos.
        """
        if not isinstance(self.input_preprocessing, Preprocessing):
            raise ValueError(
                f"`model` must be a network of images here, got {self.card.model_name}, which "
                "takes videos. Try `odevision predict` or `odevision evaluate` with it."
            )
        return self.input_preprocessing

    @property
    def clip_preprocessing(self) -> ClipPreprocessing:
        """That of a network of videos.

        Raises:
            ValueError: the network takes images.
        """
        if not isinstance(self.input_preprocessing, ClipPreprocessing):
            raise ValueError(
                f"`model` must be a network of videos here, got {self.card.model_name}, which "
                "takes images. Try a model of `odevision weights` that was trained on videos."
            )
        return self.input_preprocessing
