import dataclasses
from pathlib import Path

import pytest
import torch

from odevision.training import atomic
from odevision.training.annotate import annotate_checkpoint
from odevision.training.checkpoint import Card, CheckpointWriteError, read_card, save_checkpoint

CARD = Card(model_name="x", model={}, preprocessing={}, class_names=("a",), dataset="x", step=3)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(
        tmp_path, weights={"w": torch.ones(3)}, card=CARD, training_state={"step": 3}
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


def test_a_full_disk_leaves_the_checkpoint_as_it_was(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(checkpoint)

    def fail(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "write_synced", fail)
    with pytest.raises(CheckpointWriteError, match="No space left on device. It is unchanged"):
        annotate_checkpoint(checkpoint, CARD, {"more": b"1"})
    assert contents(checkpoint) == before
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]
