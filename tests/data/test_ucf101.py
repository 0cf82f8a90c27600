"""UCF101's official splits, in both layouts and in part."""

import logging
from pathlib import Path

import pytest

from odevision.data.locate import DataNotFoundError
from odevision.data.ucf101 import UCF5_CLASSES, load_ucf101
from odevision.data.video_set import carve_validation_groups, refuse_leak

INDEX = "1 Archery\n2 Biking\n3 Diving\n"
TRAIN = """Archery/v_Archery_g08_c01.avi 1
Diving/v_Diving_g09_c02.avi 3
Biking/v_Biking_g10_c01.avi 2
"""
TEST = "Archery/v_Archery_g01_c01.avi\nDiving/v_Diving_g02_c01.avi\n"


def tree(root: Path, *, official: bool, classes: tuple[str, ...] = ("Archery", "Diving")) -> Path:
    videos = root / ("UCF-101" if official else "clips")
    lists = root / ("ucfTrainTestlist" if official else "splits")
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text(INDEX)
    (lists / "trainlist01.txt").write_text(TRAIN)
    (lists / "testlist01.txt").write_text(TEST)
    for line in (TRAIN + TEST).splitlines():
        path = videos / line.split()[0]
        if path.parent.name in classes:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


@pytest.mark.parametrize("official", [True, False])
def test_the_classes_at_hand_are_listed_in_the_official_order(
    tmp_path: Path, official: bool
) -> None:
    root = tree(tmp_path, official=official)
    train = load_ucf101(root, "train")
    assert train.class_names == ("Archery", "Diving")
    assert [path.name for path in train.paths] == ["v_Archery_g08_c01.avi", "v_Diving_g09_c02.avi"]
    assert train.labels.tolist() == [0, 1]
    assert train.groups == ("Archery_g08", "Diving_g09")
    refuse_leak(train, load_ucf101(root, "test"))


def test_missing_videos_are_counted_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tree(tmp_path, official=True)
    (root / "UCF-101/Diving/v_Diving_g02_c01.avi").unlink()
    with caplog.at_level(logging.WARNING):
        assert len(load_ucf101(root, "test")) == 1
    assert "has 1 of the 2 videos of testlist01.txt" in caplog.text


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"classInd\.txt.*crcv\.ucf\.edu"):
        load_ucf101(tmp_path, "train")
    root = tree(tmp_path, official=True)
    with pytest.raises(DataNotFoundError, match=r"trainlist02\.txt: is missing"):
        load_ucf101(root, "train", split_index=2)
    with pytest.raises(ValueError, match="split_index"):
        load_ucf101(root, "train", split_index=4)
    with pytest.raises(DataNotFoundError, match="Lunges"):
        load_ucf101(root, "train", class_names=("Lunges",))
    (root / "ucfTrainTestlist/testlist01.txt").write_text("Archery/other.avi\n")
    with pytest.raises(DataNotFoundError, match="has no video of testlist01"):
        load_ucf101(root, "test")
    (root / "UCF-101/Archery/other.avi").touch()
    with pytest.raises(ValueError, match="v_CLASS_gNN_cNN"):
        load_ucf101(root, "test")


@pytest.mark.parametrize("split_index", [1, 2, 3])
def test_the_five_real_classes(real_data: Path, split_index: int) -> None:
    root = real_data / "ucf101"
    train, test = (
        load_ucf101(root, split, split_index=split_index, class_names=UCF5_CLASSES)
        for split in ("train", "test")
    )
    assert len(train) + len(test) == 558
    assert train.class_names == UCF5_CLASSES and set(train.labels.tolist()) == set(range(5))
    refuse_leak(train, test)
    training, validation = carve_validation_groups(train, fraction=0.15, seed=0)
    assert 0.1 < len(validation) / len(train) < 0.2
    assert set(validation.labels.tolist()) == set(range(5))
    assert len(training) + len(validation) == len(train)
