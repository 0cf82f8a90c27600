"""Mixup and CutMix inside the training loop."""

import dataclasses
import json
from pathlib import Path

import pytest

from odevision.training.checkpoint import newest_checkpoint
from odevision.training.config import from_yaml, to_yaml
from odevision.training.loop import train
from odevision.training.report import SilentProgress

MIXED = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}


class Killed(BaseException):
    """Ends a run without its consent."""


class KillAt(SilentProgress):
    def __init__(self, step: int) -> None:
        self.kill_step = step

    def advance(self, step: int, epoch: int) -> None:
        if step == self.kill_step:
            raise Killed


def weights(run: Path) -> bytes:
    path = newest_checkpoint(run)
    assert path is not None
    return (path / "weights.safetensors").read_bytes()


def test_a_killed_run_with_mixing_resumes_to_the_same_weights(small_config, tmp_path: Path) -> None:
    options = {**MIXED, "checkpoint_every_minutes": 0.0}
    train(small_config(out=str(tmp_path / "whole"), **options))
    parts = small_config(out=str(tmp_path / "parts"), **options)
    with pytest.raises(Killed):
        train(parts, progress=KillAt(14))
    train(parts, resume=True)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


@pytest.mark.parametrize("field", ["mixup_alpha", "cutmix_alpha"])
def test_mixing_changes_the_training_and_goes_on_with_label_smoothing(
    small_config, tmp_path: Path, field: str
) -> None:
    plain = small_config(out=str(tmp_path / "plain"), epochs=1)
    mixed = small_config(out=str(tmp_path / "mixed"), epochs=1, **{field: 1.0})
    mixed = dataclasses.replace(mixed, label_smoothing=0.1)
    train(plain)
    train(mixed)
    assert weights(tmp_path / "plain") != weights(tmp_path / "mixed")
    lines = (tmp_path / "mixed" / "metrics.jsonl").read_text().splitlines()
    assert 0 <= json.loads(lines[-1])["train_accuracy"] <= 1


def test_mixing_survives_yaml(small_config) -> None:
    config = small_config(**MIXED)
    assert from_yaml(to_yaml(config)) == config


@pytest.mark.parametrize("field", list(MIXED))
def test_a_negative_alpha_is_refused(small_config, field: str) -> None:
    with pytest.raises(ValueError, match=f"`{field}` must be"):
        small_config(**{field: -1.0})
