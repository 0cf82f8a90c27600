"""Networks of videos are trained by the same loop and resume exactly."""

import dataclasses
from pathlib import Path

import pytest
import torch

from odevision.data.clip_augmentation import ClipAugmentation
from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.clip_sampling import ClipSampling
from odevision.models.odenet import ODENetConfig
from odevision.models.video import RecurrentVideoNet, VideoODERNNConfig, VideoOnceConfig
from odevision.models.video_r2plus1d import VideoR2Plus1DConfig
from odevision.training.batches import load_training_data
from odevision.training.checkpoint import load_checkpoint, read_card
from odevision.training.config import DataConfig, OptimizerConfig, TrainConfig, from_yaml, to_yaml
from odevision.training.loop import train
from odevision.training.video_data import VideoDataConfig
from odevision.types import Clips

DATA = VideoDataConfig(
    name="motion",
    batch_size=8,
    limit=40,
    height=32,
    width=32,
    sampling=ClipSampling(kind="irregular", num_frames=None, rate=4.0, drop=0.25),
    augmentation=ClipAugmentation(crop_padding=2),
)


def video_config(tmp_path: Path, **changes) -> TrainConfig:
    values = {
        "recipe": "small",
        "model": VideoODERNNConfig(num_classes=10, stem_width=8, widths=(8,)),
        "data": DATA,
        "optimizer": OptimizerConfig(name="adamw", learning_rate=1e-2),
        "epochs": 2,
        "ema_decay": 0.9,
        "device": "cpu",
        "out": str(tmp_path / "run"),
        "log_every_steps": 2,
        "checkpoint_every_minutes": 60.0,
    }
    return TrainConfig(**{**values, **changes})


@pytest.mark.parametrize(
    "model",
    [
        VideoODERNNConfig(num_classes=10, stem_width=8, widths=(8,), chunk=3),
        VideoOnceConfig(num_classes=10, stem_width=8, widths=(8,)),
        VideoR2Plus1DConfig(num_classes=10, widths=(8, 8)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_run_ends_with_a_network_of_videos(tmp_path: Path, model) -> None:
    result = train(video_config(tmp_path, model=model))
    assert result.stopped == "done" and result.epochs == 2
    assert 0 <= result.metrics["validation_accuracy"] <= 1
    card = read_card(result.checkpoint_dir)
    assert card.dataset == "motion" and card.split_index == 1
    loaded = load_checkpoint(result.run_dir)
    assert loaded.takes_videos
    assert loaded.clip_preprocessing == ClipPreprocessing(height=32, width=32, rate=4.0)
    with pytest.raises(ValueError, match="must be a network of images here, got video-"):
        _ = loaded.preprocessing


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = train(video_config(tmp_path / "a"))
    stopped = video_config(tmp_path / "b", max_minutes=1e-4)
    assert train(stopped).stopped == "max_minutes"
    rest = train(dataclasses.replace(stopped, max_minutes=None), resume=True)
    assert rest.stopped == "done"
    first, second = (load_checkpoint(r.run_dir).model.state_dict() for r in (whole, rest))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_config_survives_yaml(tmp_path: Path) -> None:
    config = video_config(tmp_path)
    assert from_yaml(to_yaml(config)) == config
    text = "model: {name: video-odernn, num_classes: 10}\ndata: {height: 32, frames: 3}"
    with pytest.raises(ValueError, match="Unknown key `data.frames`"):
        from_yaml(text)
    assert isinstance(from_yaml("model: {name: video-mean}").data, VideoDataConfig)


def test_data_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`data` must be of videos for the network video-odernn"):
        video_config(tmp_path, data=DataConfig())
    with pytest.raises(ValueError, match="`data` must be of images for the network odenet"):
        video_config(tmp_path, model=ODENetConfig())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mixup_alpha", 0.2),
        ("cutmix_alpha", 1.0),
        ("channels_last", True),
        ("step_error_weight", 0.1),
    ],
)
def test_what_is_made_for_images_is_refused(tmp_path: Path, name: str, value) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be left out for networks of videos"):
        video_config(tmp_path, **{name: value})


def test_step_counts_are_drawn_for_the_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    forward = RecurrentVideoNet.forward

    def spy(self: RecurrentVideoNet, clips: Clips) -> torch.Tensor:
        if self.training:
            counts.append({block.num_steps for block in self.ode_blocks()})
        return forward(self, clips)

    monkeypatch.setattr(RecurrentVideoNet, "forward", spy)
    result = train(video_config(tmp_path, step_counts=(1, 3), epochs=2))
    assert result.stopped == "done"
    assert {1} in counts and {3} in counts and len(counts) > 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "`data.batch_size` must be >= 1"),
        ({"split_index": 4}, "`data.split_index` must be >= 1 and <= 3, got 4"),
        ({"height": 0}, "`data.height` must be >= 1"),
        ({"validation_frames": 0}, "`data.validation_frames` must be >= 1"),
        ({"augmentation": ClipAugmentation(cutout=40)}, "`cutout` must be at most"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DATA, **changes)


def test_a_wrong_number_of_classes_is_refused(tmp_path: Path) -> None:
    model = VideoODERNNConfig(num_classes=5, stem_width=8, widths=(8,))
    with pytest.raises(ValueError, match="`model.num_classes` must be 10 for motion, got 5"):
        train(video_config(tmp_path, model=model))
    assert not (tmp_path / "run").exists()


def test_drawn_people_are_trained_on_beside_the_videos_and_not_validated(tmp_path: Path) -> None:
    data = VideoDataConfig(name="exercises", batch_size=4, height=24, width=32, exercises=500)
    model = VideoODERNNConfig(num_classes=5, stem_width=8, widths=(8,))
    config = video_config(tmp_path, data=data, model=model)
    loaded = load_training_data(config, torch.device("cpu"))
    assert (loaded.training.num_samples, loaded.validation.num_samples) == (1350, 150)
    few = dataclasses.replace(data, limit=10)
    loaded = load_training_data(dataclasses.replace(config, data=few), torch.device("cpu"))
    assert (loaded.training.num_samples, loaded.validation.num_samples) == (20, 10)
    clips, labels = next(loaded.training.epoch(0))
    assert clips.frames.shape[2:] == (3, 24, 32) and len(labels) == 4
    with pytest.raises(ValueError, match=r"`data.exercises` must be 0 for motion, which lacks the"):
        train(video_config(tmp_path, data=dataclasses.replace(DATA, exercises=5)))
