import dataclasses
import os
from pathlib import Path

import pytest
import torch

from odevision.training import annotate
from odevision.training.annotate import annotate_checkpoint
from odevision.training.checkpoint import Card, CheckpointWriteError, read_card, save_checkpoint

CARD = Card(model_name="x", model={}, preprocessing={}, class_names=("a",), dataset="x", step=3)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(
        tmp_path, weights={"w": torch.ones(3)}, card=CARD, training_state={"step": 3}
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_card_is_replaced_and_the_rest_stays(checkpoint: Path) -> None:
    before = contents(checkpoint)
    annotate_checkpoint(
        checkpoint, dataclasses.replace(CARD, calibration={"temperature": 2.0}), {"more": b"1"}
    )
    after = contents(checkpoint)
    assert read_card(checkpoint).calibration == {"temperature": 2.0}
    assert after.pop("more") == b"1"
    assert after.pop("card.json") != before.pop("card.json")
    assert after == before
    annotate_checkpoint(checkpoint, CARD, {"more": None, "never there": None})
    assert "more" not in contents(checkpoint)


def test_what_a_user_keeps_beside_it_stays(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "notes").mkdir()
    (checkpoint / "notes" / "lab.txt").write_text("mine")
    (tmp_path / "link").symlink_to(checkpoint)
    calibrated = dataclasses.replace(CARD, calibration={"temperature": 2.0})
    annotate_checkpoint(tmp_path / "link", calibrated, {"more": b"1"})
    assert (tmp_path / "link").is_symlink() and read_card(checkpoint) == calibrated
    assert (checkpoint / "notes" / "lab.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "link"}
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_a_crash_between_the_renames_leaves_no_calibration_for_other_files(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated = dataclasses.replace(CARD, calibration={"temperature": 2.0})
    annotate_checkpoint(checkpoint, calibrated, {"more": b"1"})
    replace, renamed = os.replace, []

    def crash_at_the_card(old: Path, new: Path) -> None:
        renamed.append(new)
        if len(renamed) == 3:
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(annotate.os, "replace", crash_at_the_card)
    with pytest.raises(KeyboardInterrupt):
        annotate_checkpoint(checkpoint, calibrated, {"more": b"2"})
    assert contents(checkpoint)["more"] == b"2" and read_card(checkpoint).calibration == {}
    assert not [name for name in contents(checkpoint) if name.startswith(".")]


def test_a_full_disk_leaves_the_checkpoint_as_it_was(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(checkpoint)

    def fail(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(annotate, "write_synced", fail)
    with pytest.raises(CheckpointWriteError, match="No space left on device. It is unchanged"):
        annotate_checkpoint(checkpoint, CARD, {"more": b"1"})
    assert contents(checkpoint) == before
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_a_failing_rename_does_not_claim_that_nothing_changed(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, done = os.replace, []

    def fail(source: Path, target: Path) -> None:
        if done:
            raise OSError(30, "Read-only file system")
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(annotate.os, "replace", fail)
    with pytest.raises(CheckpointWriteError, match="It may have lost its calibration"):
        annotate_checkpoint(checkpoint, CARD, {"more": b"1"})
