"""Video data sets by name: found, divided by groups, decoded once."""

from pathlib import Path

import pytest
import torch
from video_cases import bar_frames

from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.clip_source import ClipSource
from odevision.data.locate import DataNotFoundError
from odevision.data.motion import MOTION_CLASSES
from odevision.data.ucf101 import UCF5_CLASSES
from odevision.data.video_set import LeakError
from odevision.data.video_sources import VIDEO_DATASETS, load_video_split, video_class_names
from odevision.data.video_writer import write_video

PREPARE = ClipPreprocessing(height=12, width=16, rate=10.0)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of five groups with two videos each."""
    folder = tmp_path_factory.mktemp("album")
    for name in ("A", "B"):
        for group in range(5):
            for clip in range(2):
                file = folder / name / f"v_{name}_g{group:02}_c{clip:02}.mp4"
                write_video(file, bar_frames(4 + group))
    return folder


def load(name: str, split: str, tmp_path: Path, **options) -> ClipSource:
    return load_video_split(
        name, split, preprocessing=PREPARE, cache_dir=tmp_path / "cache", **options
    )


def test_a_folder_gives_three_splits_that_share_no_group(album: Path, tmp_path: Path) -> None:
    names = {}
    for split in ("train", "validation", "test"):
        source = load(str(album), split, tmp_path, validation_fraction=0.25)
        names[split] = {path.name[:7] for path in source.videos.paths}  # type: ignore[attr-defined]
        assert source.frames(0, torch.tensor([0, 2])).shape == (2, 3, 12, 16)
        assert source.split == split and source.class_names == ("A", "B")
    assert {split: len(groups) for split, groups in names.items()} == {
        "train": 6,
        "validation": 2,
        "test": 2,
    }
    assert len(set.union(*names.values())) == 10


def test_a_folder_may_be_relative_to_the_data_root(album: Path, tmp_path: Path) -> None:
    assert video_class_names("album0", data_root=album.parent) == ("A", "B")
    assert len(load("album0", "test", tmp_path, data_root=album.parent)) == 4


def test_a_limit_takes_videos_of_all_classes(album: Path, tmp_path: Path) -> None:
    assert load(str(album), "train", tmp_path, limit=4).labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="`limit` must be at least 1 video"):
        load(str(album), "train", tmp_path, limit=0)


def test_a_test_that_shares_a_group_with_training_is_refused(album: Path, tmp_path: Path) -> None:
    for split, clip in (("train", 0), ("test", 1)):
        for name in ("A", "B"):
            for group in range(5):
                file = f"v_{name}_g{group:02}_c{clip:02}.mp4"
                (tmp_path / "x" / split / name).mkdir(parents=True, exist_ok=True)
                (tmp_path / "x" / split / name / file).symlink_to(album / name / file)
    with pytest.raises(LeakError, match="on both sides"):
        load(str(tmp_path / "x"), "test", tmp_path)


def test_a_list_of_the_test_alone_is_a_test_split(album: Path, tmp_path: Path) -> None:
    rows = [f"{path.relative_to(album)},{path.parent.name},val" for path in album.rglob("*.mp4")]
    name = album / "validate.csv"
    name.write_text("\n".join(["path,label,split", *rows]))
    assert video_class_names(str(name)) == ("A", "B")
    assert len(load(str(name), "test", tmp_path)) == len(rows)
    with pytest.raises(ValueError, match="must have rows whose split is train, got none. Try"):
        load(str(name), "train", tmp_path)


def test_a_csv_list_is_a_data_set(album: Path, tmp_path: Path) -> None:
    rows = [f"{path.relative_to(album)},{path.parent.name},train" for path in album.rglob("*.mp4")]
    (album / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    assert len(load(str(album / "list.csv"), "train", tmp_path, validation_fraction=0.2)) == 16


def test_motion_needs_no_files_but_its_size(tmp_path: Path) -> None:
    assert video_class_names("motion") == MOTION_CLASSES
    with pytest.raises(ValueError, match="`height` and `width` must be 32 for motion, got 12"):
        load("motion", "train", tmp_path)


def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'ucf101'"):
        load("ucf11", "train", tmp_path)


def test_what_is_not_there_says_how_to_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ucf101", "ucf5", "hmdb51"):
        assert name in VIDEO_DATASETS
        with pytest.raises(DataNotFoundError, match="by --data-root or"):
            load(name, "train", tmp_path, data_root=tmp_path)
    monkeypatch.setenv("ODEVISION_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr("odevision.data.video_sources.cache_folder", lambda: tmp_path / "none")
    with pytest.raises(DataNotFoundError, match="nowhere or .*none"):
        video_class_names("ucf5")


def test_the_real_five_classes_are_found_and_divided(real_data: Path) -> None:
    assert video_class_names("ucf5", data_root=real_data) == UCF5_CLASSES
    assert video_class_names("ucf101", data_root=real_data) == UCF5_CLASSES  # those that are there
