"""Videos of one's own: folders DIR/CLASS/*.mp4, and lists in CSV files as Kinetics has them."""

import csv
import logging
import re
from pathlib import Path, PurePath
from typing import Any, Literal

import torch

from odevision.data.locate import TEST_NAMES, DataNotFoundError, find_test_folder
from odevision.data.video import VIDEO_SUFFIXES
from odevision.data.video_set import VideoSet, carve_validation_groups

logger = logging.getLogger(__name__)

TEST_FRACTION = 0.2
"""Share of each class that is the test split where a folder has none of its own."""

_TEST_SEED = 1
_TOO_MANY = "more entries than columns"
_SPLIT_WORDS = {"train": ("train", "training"), "test": TEST_NAMES}
_GROUPS = (
    re.compile(r"v_(?P<group>.+_g\d+)_c\d+"),  # UCF101: one person in one place
    re.compile(r"(?P<group>.{11})_\d{6}_\d{6}"),  # Kinetics: one source video
)


class NoRowsError(ValueError):
    """A list that names no video of a split."""


def group_of(path: PurePath) -> str:
    """Return the group of a video by its name: UCF101's, Kinetics', else the video by itself.

    Args:
        path: From the folder of the data set on: however that is spelled, the group is the same,
            and with it the division into training, validation and test.
    """
    for pattern in _GROUPS:
        if match := pattern.fullmatch(path.stem):
            return match["group"]
    return path.as_posix()


def is_video_folder(folder: Path) -> bool:
    """Whether a folder is laid out as `load_video_folder` wants it."""
    top = folder / "train" if (folder / "train").is_dir() else folder
    return bool(_class_folders(top))


def load_video_folder(folder: Path, split: Literal["train", "test"]) -> VideoSet:
    """List the videos of a folder, DIR/CLASS/*.mp4 or DIR/train/CLASS/*.mp4 with DIR/test.

    Without train and test folders a fifth of each class is the test split, by whole groups, the
    same in every run.

    Args:
        folder: DIR.
        split: "train" or "test".

    Returns:
        The split, sorted by class and name. Groups are known for names as in UCF101 and Kinetics;
        elsewhere each video is its own.

    Raises:
        ValueError: If there are fewer than two classes, or the test has one of its own.
        DataNotFoundError: If there is no such folder.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder}: no such folder. Try DIR with DIR/CLASS/VIDEO.mp4.")
    if not (folder / "train").is_dir():
        parts = carve_validation_groups(
            _list(folder, folder, None, "train"), fraction=TEST_FRACTION, seed=_TEST_SEED
        )
        chosen = parts[split == "test"]
        return chosen.select(torch.arange(len(chosen)), split=split)
    training = _list(folder / "train", folder, None, "train")
    if split == "train":
        return training
    test = find_test_folder(folder)
    if test is not None:
        return _list(test, folder, training.class_names, "test")
    raise DataNotFoundError(f"{folder}: has no test folder. Try {folder}/test/CLASS/VIDEO.mp4.")


def _list(top: Path, name: Path, class_names: tuple[str, ...] | None, split: str) -> VideoSet:
    folders = {path.name: path for path in _class_folders(top)}
    names = class_names or tuple(sorted(folders))
    if len(names) < 2:
        raise ValueError(
            f"{top}: must hold a folder of videos for each of at least two classes, got "
            f"{list(names)}. Try the layout {top}/CLASS/VIDEO.mp4."
        )
    unknown = sorted(set(folders) - set(names))
    if unknown:
        raise ValueError(f"{top}: holds classes that train has not: {', '.join(unknown)}.")
    paths = [path for label in names if label in folders for path in _videos(folders[label])]
    return VideoSet(
        paths=tuple(paths),
        labels=torch.tensor([names.index(path.parent.name) for path in paths], dtype=torch.int64),
        groups=tuple(group_of(path.relative_to(name)) for path in paths),
        class_names=names,
        name=str(name),
        split=split,
    )


def _videos(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != "." and path.is_file()
    )


def _class_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [path for path in inside if _videos(path)]


def load_video_csv(file: Path, split: Literal["train", "test"]) -> VideoSet:
    """List the videos that a CSV file names.

    Two kinds are known by their header. Kinetics' has `label`, `youtube_id`, `time_start`,
    `time_end` and `split`; its videos lie beside the file, as ID_START_END.mp4 with six digits
    each, in LABEL/, SPLIT/LABEL/ or SPLIT/. The other one has `path` (relative to the file),
    `label`, `split` and, if wanted, `group`.

    Args:
        file: The list.
        split: "train" or "test"; without rows of test, those of val are it.

    Returns:
        The split, in the order of the list, the classes sorted by name. Listed videos that are
        missing are left out, with a warning that counts them.

    Raises:
        NoRowsError: If no row is of the split; Kinetics has a file for each.
        ValueError: If columns or entries are missing, or there are fewer than two classes.
        DataNotFoundError: If there is no such file, or none of its videos is there.
    """
    rows = _rows(file)
    labels = sorted({row["label"] for row in rows})
    chosen = _rows_of(rows, split)
    if not chosen:
        raise NoRowsError(
            f"{file}: must have rows whose split is {_SPLIT_WORDS[split][0]}, got none. Try the "
            "list of that split, or one list of both."
        )
    if len(labels) < 2:
        raise ValueError(f"{file}: must name at least two classes, got {labels}.")
    found = [(row, path) for row in chosen if (path := _path_of(row, file.parent)) is not None]
    if len(found) < len(chosen):
        logger.warning("%s: %d of %d %s videos are there", file, len(found), len(chosen), split)
    if not found:
        raise DataNotFoundError(f"{file}: none of its {len(chosen)} {split} videos is there.")
    return VideoSet(
        paths=tuple(path for _, path in found),
        labels=torch.tensor([labels.index(row["label"]) for row, _ in found], dtype=torch.int64),
        groups=tuple(
            row.get("group") or row.get("youtube_id") or group_of(PurePath(row["path"]))
            for row, _ in found
        ),
        class_names=tuple(labels),
        name=str(file),
        split=split,
    )


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:  # Excel begins with a mark
            reader = csv.DictReader(text, restval="", restkey=_TOO_MANY)
            columns = set(reader.fieldnames or ())
            numbered = [(reader.line_num, _stripped(row)) for row in reader]
    except FileNotFoundError:
        raise DataNotFoundError(f"{file}: no such file.") from None
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ValueError(
            f"{file}: must be a table of comma-separated text, got {error}. Try to save it as CSV "
            "in UTF-8."
        ) from error
    kinetics, plain = {"label", "youtube_id", "time_start", "time_end", "split"}, {"path", "label"}
    missing = min(kinetics - columns, (plain | {"split"}) - columns, key=len)
    if missing:
        raise ValueError(
            f"{file}: must have the columns path, label, split, or those of Kinetics, got "
            f"{', '.join(sorted(columns)) or 'none'}; missing: {', '.join(sorted(missing))}."
        )
    for line, row in numbered:
        _check_row(row, f"{file}, line {line}", has_paths=plain <= columns)
    return [row for _, row in numbered]


def _stripped(row: dict[str, Any]) -> dict[str, Any]:
    """The entries without spaces around them; too many come as a list."""
    return {key: value.strip() if isinstance(value, str) else value for key, value in row.items()}


def _check_row(row: dict[str, str], place: str, *, has_paths: bool) -> None:
    """Refuse a row that lacks something, or says it in a way that cannot be read."""
    if _TOO_MANY in row:
        raise ValueError(f"{place}: must have one entry a column. Try quotes around commas.")
    wanted = ["label", "split", *(["path"] if has_paths else ["youtube_id"])]
    empty = [name for name in wanted if not row[name]]
    if empty:
        raise ValueError(f"{place}: must state {', '.join(empty)}, got nothing there.")
    for name in () if has_paths else ("time_start", "time_end"):
        try:
            int(float(row[name]))
        except (ValueError, OverflowError):
            raise ValueError(
                f"{place}: `{name}` must be a number of seconds, got {row[name]!r}."
            ) from None


def _rows_of(rows: list[dict[str, str]], split: str) -> list[dict[str, str]]:
    for word in _SPLIT_WORDS[split]:
        chosen = [row for row in rows if row["split"].lower() == word]
        if chosen:
            return chosen
    return []


def _path_of(row: dict[str, str], folder: Path) -> Path | None:
    if row.get("path"):
        path = folder / row["path"]
        return path if path.is_file() else None
    start, end = (int(float(row[name])) for name in ("time_start", "time_end"))
    stem = f"{row['youtube_id']}_{start:06}_{end:06}"
    label, split = row["label"], row["split"]
    for place in (folder / label, folder / split / label, folder / split, folder):
        for suffix in VIDEO_SUFFIXES:
            if (place / f"{stem}{suffix}").is_file():
                return place / f"{stem}{suffix}"
    return None
