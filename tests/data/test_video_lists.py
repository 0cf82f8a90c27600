"""Videos of one's own, in folders and in CSV lists."""

import logging
from pathlib import Path

import pytest

from odevision.data.locate import DataNotFoundError
from odevision.data.video_lists import (
    group_of,
    is_video_folder,
    load_video_csv,
    load_video_folder,
)
from odevision.data.video_set import (
    LeakError,
    VideoSet,
    carve_validation_groups,
    refuse_leak,
)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("run", "jump"):
        touch(*(tmp_path / name / f"{name}{i}.mp4" for i in range(10)))
    touch(tmp_path / "run" / "notes.txt", tmp_path / "empty" / "readme")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("v_Lunges_g03_c02.avi", "Lunges_g03"),
        ("-3B32lodo2M_000059_000069.mp4", "-3B32lodo2M"),
        ("holiday.mov", "holiday.mov"),
    ],
)
def test_groups_are_read_off_the_usual_names(name: str, group: str) -> None:
    assert group_of(Path(name)) == group


def test_a_folder_of_classes_keeps_a_fifth_for_the_test(album: Path) -> None:
    training, test = (load_video_folder(album, split) for split in ("train", "test"))
    assert training.class_names == test.class_names == ("jump", "run")
    assert training.labels.bincount().tolist() == [8, 8]
    assert test.labels.bincount().tolist() == [2, 2]
    refuse_leak(training, test)
    assert load_video_folder(album, "test").paths == test.paths
    assert training.split == "train" and test.split == "test"


def test_the_division_does_not_depend_on_how_the_folder_is_named(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album.parent)
    table = "path,label,split\n" + "".join(
        f"{name}/{name}{i}.mp4,{name},train\n" for name in ("run", "jump") for i in range(10)
    )
    (album / "list.csv").write_text(table)
    spellings = (album, Path(album.name), Path("..", album.parent.name, album.name))

    def names(videos: VideoSet) -> list[str]:
        return [path.name for path in videos.paths]

    tests = [names(load_video_folder(folder, "test")) for folder in spellings]
    assert tests[0] == tests[1] == tests[2]
    listed = [load_video_csv(folder / "list.csv", "train") for folder in spellings]
    parts = [carve_validation_groups(videos, fraction=0.3, seed=0)[1] for videos in listed]
    assert names(parts[0]) == names(parts[1]) == names(parts[2])


def test_spaces_around_entries_do_not_count(album: Path) -> None:
    rows = ["run/run0.mp4,run,train", " run/run1.mp4 , run ,train ", "jump/jump0.mp4,jump,train"]
    (album / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    training = load_video_csv(album / "list.csv", "train")
    assert training.class_names == ("jump", "run") and training.labels.tolist() == [1, 1, 0]


def test_whole_groups_go_to_one_side(tmp_path: Path) -> None:
    for name in ("A", "B"):
        touch(*(tmp_path / name / f"v_{name}_g{g:02}_c{c:02}.avi"
                for g in range(5) for c in range(3)))  # fmt: skip
    training, test = (load_video_folder(tmp_path, split) for split in ("train", "test"))
    refuse_leak(training, test)
    assert test.labels.bincount().tolist() == [3, 3]


def test_hidden_files_and_folders_named_like_videos_are_no_videos(album: Path) -> None:
    touch(album / "run" / "._run0.mp4", album / "run" / "folder.mp4" / "x")
    names = [
        path.name for split in ("train", "test") for path in load_video_folder(album, split).paths
    ]
    assert len(names) == 20 and "._run0.mp4" not in names and "folder.mp4" not in names


def test_train_and_test_folders_are_taken_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path / "train" / "a" / "1.mp4", tmp_path / "train" / "b" / "2.webm")
    touch(tmp_path / "val" / "b" / "3.mkv")
    assert is_video_folder(tmp_path)
    assert [path.name for path in load_video_folder(tmp_path, "train").paths] == ["1.mp4", "2.webm"]
    with caplog.at_level(logging.WARNING):
        test = load_video_folder(tmp_path, "test")
    assert [path.name for path in test.paths] == ["3.mkv"] and test.labels.tolist() == [1]
    assert "has no test folder; val serves as test data" in caplog.text


def test_a_folder_laid_out_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no such folder"):
        load_video_folder(tmp_path / "gone", "train")
    touch(tmp_path / "only" / "1.mp4")
    with pytest.raises(ValueError, match="at least two classes, got .'only'."):
        load_video_folder(tmp_path, "train")
    touch(tmp_path / "x" / "train" / "a" / "1.mp4", tmp_path / "x" / "train" / "b" / "1.mp4")
    with pytest.raises(DataNotFoundError, match="has no test folder"):
        load_video_folder(tmp_path / "x", "test")
    touch(tmp_path / "x" / "test" / "c" / "1.mp4")
    with pytest.raises(ValueError, match="classes that train has not: c"):
        load_video_folder(tmp_path / "x", "test")


KINETICS = """label,youtube_id,time_start,time_end,split
abseiling,-3B32lodo2M,59,69,train
abseiling,-7kbO0v4hag,107,117,train
zumba,zzzzzzzzzzz,0,10,train
zumba,yyyyyyyyyyy,5,15,val
"""


def test_a_list_as_kinetics_has_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "k.csv").write_text(KINETICS)
    touch(
        tmp_path / "abseiling" / "-3B32lodo2M_000059_000069.mp4",
        tmp_path / "train" / "zumba" / "zzzzzzzzzzz_000000_000010.mkv",
        tmp_path / "val" / "yyyyyyyyyyy_000005_000015.mp4",
    )
    with caplog.at_level(logging.WARNING):
        training = load_video_csv(tmp_path / "k.csv", "train")
    assert "2 of 3 train videos are there" in caplog.text
    assert training.class_names == ("abseiling", "zumba")
    assert training.labels.tolist() == [0, 1]
    assert training.groups == ("-3B32lodo2M", "zzzzzzzzzzz")
    assert load_video_csv(tmp_path / "k.csv", "test").groups == ("yyyyyyyyyyy",)


def test_a_plain_list_has_paths_and_groups(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(
        "path,label,split,group\na/1.mp4,x,train,g1\na/2.mp4,y,train,g2\nb/3.mp4,y,test,g1\n"
    )
    touch(*(tmp_path / name for name in ("a/1.mp4", "a/2.mp4", "b/3.mp4")))
    training, test = (load_video_csv(tmp_path / "l.csv", split) for split in ("train", "test"))
    assert training.groups == ("g1", "g2") and test.labels.tolist() == [1]
    text = (tmp_path / "l.csv").read_text()
    (tmp_path / "excel.csv").write_text(text, encoding="utf-8-sig")
    assert load_video_csv(tmp_path / "excel.csv", "train").paths == training.paths
    with pytest.raises(LeakError, match="the group g1 on both sides"):
        refuse_leak(training, test)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "missing: label, path, split"),
        ("path,label\na.mp4,x\n", "missing: split"),
        ("path,label,split\na.mp4,x,test\n", "must have rows whose split is train"),
        ("", "got none"),
        ("path,label,split\na.mp4,x,train\nb.mp4\n", "l.csv, line 3: must state label, split"),
        ("path,label,split\na.mp4,x,train,8\n", "l.csv, line 2: must have one entry a column"),
        ("path,label,split\na.mp4,x,train\n", "must name at least two classes, got .'x'."),
        (KINETICS.replace(",59,", ",,"), "l.csv, line 2: `time_start` must be a number of sec"),
    ],
)
def test_a_list_that_lacks_something_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_video_csv(tmp_path / "l.csv", "train")


def test_a_list_of_missing_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k.csv").write_text(KINETICS)
    with pytest.raises(DataNotFoundError, match="none of its 3 train videos is there"):
        load_video_csv(tmp_path / "k.csv", "train")
    with pytest.raises(DataNotFoundError, match="no such file"):
        load_video_csv(tmp_path / "gone.csv", "train")


def test_a_table_in_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "videos.csv"
    file.write_bytes("path,label,split\nv.mp4,Kn\xf6del,train\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"videos.csv: must be a table.*CSV in UTF-8"):
        load_video_csv(file, "train")
