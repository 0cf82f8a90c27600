from pathlib import Path

import pytest

from odevision.evaluation.history import read_history


def test_records_are_sorted_by_kind(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "train", "step": 1}\n{"event": "epoch", "epoch": 1}\n')
    history = read_history(path)
    assert [record["step"] for record in history.steps] == [1]
    assert [record["epoch"] for record in history.epochs] == [1]


def test_an_unfinished_last_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "train", "step": 1}\n{"event": "tr')
    assert len(read_history(path).steps) == 1


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event"\n{"event": "train", "step": 1}\n')
    with pytest.raises(ValueError, match="line 1"):
        read_history(path)
