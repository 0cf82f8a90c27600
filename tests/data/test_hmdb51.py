"""HMDB51's layout and lists, on files made here."""

import logging
from pathlib import Path

import pytest

from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.frame_cache import FrameCache
from odevision.data.hmdb51 import load_hmdb51
from odevision.data.locate import DataNotFoundError
from odevision.data.video_set import LeakError, refuse_leak
from odevision.data.video_sources import load_video_split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    for name in ("brush_hair", "wave"):
        lines = []
        # Of "BATMAN", the official lists train on one class and test on another.
        shared = ("BATMAN", 1 if name == "brush_hair" else 2)
        films = [("April_09", 1), ("Rocky", 1), ("Juno", 2), ("Up", 0), shared]
        for i, (film, role) in enumerate(films):
            file = f"{film}_{name}_u_nm_np1_ba_goo_{i}.avi"
            (tmp_path / "hmdb51_org" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "hmdb51_org" / name / file).write_bytes(b"x")
            lines.append(f"{file} {role} ")
        (lists / f"{name}_test_split1.txt").write_text("\n".join(lines))
    return tmp_path


def test_splits_are_the_official_ones_with_groups_by_film(root: Path) -> None:
    training, test = (load_hmdb51(root, split) for split in ("train", "test"))
    assert training.class_names == ("brush_hair", "wave")
    assert training.labels.tolist() == [0, 0, 0, 1, 1] and test.labels.tolist() == [0, 1, 1]
    assert training.groups == ("April_09", "Rocky", "BATMAN", "April_09", "Rocky")
    assert test.groups == ("Juno", "Juno", "BATMAN")
    refuse_leak(training, test, within_classes=True)
    with pytest.raises(LeakError, match="the group BATMAN"):
        refuse_leak(training, test)


def test_the_official_test_split_can_be_loaded(root: Path, monkeypatch) -> None:
    monkeypatch.setattr(FrameCache, "prepare", lambda self, paths: None)  # they are no videos
    preprocessing = ClipPreprocessing(height=12, width=16, rate=10.0)
    test = load_video_split("hmdb51", "test", preprocessing=preprocessing, data_root=root)
    assert len(test) == 3


def test_missing_videos_are_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    next((root / "hmdb51_org" / "wave").glob("Rocky*")).unlink()
    with caplog.at_level(logging.WARNING):
        assert len(load_hmdb51(root, "train")) == 4
    assert "has 4 of 5 train videos" in caplog.text


def test_what_is_not_there_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="has no lists"):
        load_hmdb51(root, "train", split_index=2)
    with pytest.raises(DataNotFoundError, match="has no lists"):
        load_hmdb51(tmp_path / "elsewhere", "train")
    with pytest.raises(ValueError, match="`split_index` must be 1, 2 or 3, got 4"):
        load_hmdb51(root, "train", split_index=4)
    (root / "hmdb51_org").rename(root / "other")
    with pytest.raises(DataNotFoundError, match="has no folder hmdb51_org/CLASS"):
        load_hmdb51(root, "train")
