"""Progressive resizing: which size each epoch has, and that a run trains on it."""

import collections
import dataclasses
import json
from pathlib import Path

import pytest
import torch

from odevision.models.odenet import ODENetConfig
from odevision.training import loop
from odevision.training.config import DataConfig
from odevision.training.loop import train
from odevision.training.progressive import shrink, training_side

MODEL = ODENetConfig(solver="heun", num_steps=1)


def sides(epochs: int, smallest: int | None, fraction: float = 0.6, full: int = 32) -> list[int]:
    data = DataConfig(progressive_size=smallest, progressive_fraction=fraction)
    return [training_side(data, epoch, full, epochs=epochs) for epoch in range(epochs)]


def test_sides_grow_by_an_eighth_and_share_the_epochs_before_the_full_size() -> None:
    counts = collections.Counter(sides(50, 20))
    assert counts == {20: 10, 24: 10, 28: 10, 32: 20}
    assert sides(50, 20) == sorted(sides(50, 20))


def test_without_a_size_every_epoch_is_full() -> None:
    assert sides(5, None) == [32] * 5


def test_the_last_epoch_is_full_however_few_there_are() -> None:
    assert [sides(epochs, 20, fraction=0.99)[-1] for epochs in range(1, 20)] == [32] * 19


def test_large_images_grow_in_larger_steps() -> None:
    assert set(sides(100, 128, full=224)) == {128, 156, 184, 212, 224}


def test_shrunk_images_keep_their_mean_and_lose_what_the_size_cannot_hold() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 32, 32, generator=generator)
    images[:, 1] = 1.5
    small = shrink(images, 16)
    assert small.shape == (2, 3, 16, 16)
    assert torch.allclose(small[:, 1], torch.tensor(1.5))
    checkers = torch.ones(32, 32)
    checkers[::2, ::2] = checkers[1::2, 1::2] = -1
    aliased = shrink(checkers.expand(1, 1, 32, 32), 16)
    assert aliased.abs().max() < 0.1
    assert shrink(images, 32) is images


def test_a_run_trains_on_small_images_first_and_resumes_exactly(
    small_config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int] = []

    def spy(images: torch.Tensor, side: int) -> torch.Tensor:
        seen.append(shrink(images, side).shape[-1])
        return shrink(images, side)

    monkeypatch.setattr(loop, "shrink", spy)
    data = dataclasses.replace(small_config().data, progressive_size=22, progressive_fraction=0.5)
    whole = train(small_config(data=data, epochs=4, out=str(tmp_path / "whole")))
    assert seen == [22] * 10 + [25] * 10 + [28] * 20
    halted = small_config(data=data, epochs=4, out=str(tmp_path / "halted"), max_minutes=1e-6)
    train(halted)
    resumed = train(dataclasses.replace(halted, max_minutes=None), resume=True)
    assert resumed.metrics["validation_loss"] == whole.metrics["validation_loss"]
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["validation_accuracy"] is not None


@pytest.mark.parametrize("size", [28, 40])
def test_a_size_that_is_not_smaller_than_the_images_is_refused(small_config, size: int) -> None:
    data = dataclasses.replace(small_config().data, progressive_size=size)
    with pytest.raises(ValueError, match=rf"progressive_size.*28 pixels.*got {size}. Try 21"):
        train(small_config(data=data))


@pytest.mark.parametrize(
    "fields",
    [{"progressive_size": 0}, {"progressive_fraction": 0.0}, {"progressive_fraction": 1.0}],
)
def test_values_out_of_range_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        DataConfig(**fields)
