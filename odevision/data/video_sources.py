"""Video data sets by name, folder or list, and their splits.

A name goes in, a `ClipSource` comes out. The validation split is always carved out of the training
videos by whole groups; a split that shares a group with another one is refused.
"""

import contextlib
import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.clip_source import ClipSource, VideoFiles
from odevision.data.exercises.exercise_set import EXERCISE_CLASSES, load_exercises
from odevision.data.frame_cache import FrameCache
from odevision.data.hmdb51 import load_hmdb51
from odevision.data.locate import DataNotFoundError, cache_folder
from odevision.data.motion import MOTION_CLASSES, MOTION_SIZE, load_motion
from odevision.data.ucf101 import UCF5_CLASSES, load_ucf101
from odevision.data.video_lists import (
    NoRowsError,
    is_video_folder,
    load_video_csv,
    load_video_folder,
)
from odevision.data.video_set import VideoSet, carve_validation_groups, refuse_leak

VIDEO_DATASETS: dict[str, str] = {
    "motion": "4,000 + 1,000 clips made here, 32 x 32: how things move, told by no single frame",
    "exercises": "1,000 + 200 clips of drawn people made here, of any size: the classes of ucf5",
    "ucf5": "five classes of UCF101: squats, boxing, juggling, jumping jacks, lunges",
    "ucf101": "13,320 clips of 101 actions in three official splits (Soomro et al. 2012)",
    "hmdb51": "6,766 clips of 51 actions in three official splits (Kuehne et al. 2011)",
}
"""The video data sets known by name, with one line each. Any folder DIR/CLASS/VIDEO is one too."""

OFFICIAL_SPLITS = ("ucf5", "ucf101", "hmdb51")
"""Those that come in three official splits."""

_FOLDERS = {"ucf101": ("ucf101", "UCF101", ""), "hmdb51": ("hmdb51", "HMDB51", "")}


def video_class_names(
    name: str, *, data_root: str | Path | None = None, split_index: int = 1
) -> tuple[str, ...]:
    """Return the classes of a video data set, in the order of the labels.

    Args:
        name: A name of `VIDEO_DATASETS`, a folder DIR/CLASS/VIDEO, or a CSV file.
        data_root: The only place to look for a data set known by name, if given. A folder or file
            that is not where `name` says is looked for there, too.
        split_index: Which official split, 1 to 3.

    Raises:
        ValueError: If the name is unknown.
        DataNotFoundError: If the data set is not there.
    """
    if name == "motion":
        return MOTION_CLASSES
    if name == "exercises":
        return EXERCISE_CLASSES
    try:
        return _list(name, "train", data_root, split_index).class_names
    except NoRowsError:  # all rows of a list count
        return _list(name, "test", data_root, split_index).class_names


def load_video_split(
    name: str,
    split: Literal["train", "validation", "test"],
    *,
    preprocessing: ClipPreprocessing,
    data_root: str | Path | None = None,
    validation_fraction: float = 0.15,
    split_index: int = 1,
    limit: int | None = None,
    cache_dir: str | Path | None = None,
) -> ClipSource:
    """Load a split of a video data set; videos are decoded once, into a cache on disk.

    Args:
        name: A name of `VIDEO_DATASETS`, a folder DIR/CLASS/VIDEO, or a CSV file.
        split: "train" and "validation" divide the official training videos, by whole groups.
        preprocessing: States the size of the frames.
        data_root: As for `video_class_names`; without it a named data set is looked for in
            $ODEVISION_DATA and the user's cache folder. Nothing is downloaded.
        validation_fraction: Share of each class for validation, in (0, 1).
        split_index: Which official split of UCF101 and HMDB51, 1 to 3.
        limit: At most this many videos, evenly spaced over the classes.
        cache_dir: Where decoded frames are kept; None takes the user's cache folder.

    Raises:
        ValueError: If the name is unknown, an argument is out of range, or videos are broken.
        LeakError: If the test shares a group with the training videos.
        DataNotFoundError: If the files are nowhere; the message says what to do.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"`split` must be 'train', 'validation' or 'test', got {split!r}.")
    if limit is not None and limit < 1:
        raise ValueError(f"`limit` must be at least 1 video, got {limit}.")
    if split_index != 1 and name not in OFFICIAL_SPLITS:
        raise ValueError(
            f"`split_index` must be 1 for {name}, which has no official splits, got {split_index}."
        )
    if name == "motion":
        if preprocessing.size != (MOTION_SIZE, MOTION_SIZE):
            raise ValueError(
                f"`height` and `width` must be {MOTION_SIZE} for motion, got "
                f"{preprocessing.height} and {preprocessing.width}."
            )
        return load_motion(split, validation_fraction=validation_fraction, limit=limit)
    if name == "exercises":
        return load_exercises(
            split, preprocessing.size, validation_fraction=validation_fraction, limit=limit
        )
    if split == "test":
        videos = _list(name, "test", data_root, split_index)
        with contextlib.suppress(NoRowsError):  # a list of the test alone
            training = _list(name, "train", data_root, split_index)
            # HMDB51's official lists divide the clips of a film class by class.
            refuse_leak(training, videos, within_classes=name == "hmdb51")
    else:
        training = _list(name, "train", data_root, split_index)
        parts = carve_validation_groups(training, fraction=validation_fraction, seed=0)
        videos = parts[split == "validation"]
    if limit is not None and limit < len(videos):
        videos = videos.select(torch.arange(limit) * len(videos) // limit)
    return VideoFiles(videos, FrameCache(preprocessing, cache_dir))


def _list(
    name: str, split: Literal["train", "test"], data_root: str | Path | None, split_index: int
) -> VideoSet:
    if name in ("ucf101", "ucf5"):
        names = UCF5_CLASSES if name == "ucf5" else None
        return _first_found(
            "ucf101",
            data_root,
            lambda root: load_ucf101(root, split, split_index=split_index, class_names=names),
        )
    if name == "hmdb51":
        return _first_found(
            name, data_root, lambda root: load_hmdb51(root, split, split_index=split_index)
        )
    places = [Path(name)] if data_root is None else [Path(name), Path(data_root) / name]
    path = next((place for place in places if place.exists()), Path(name))
    if path.suffix.lower() == ".csv":
        return load_video_csv(path, split)
    if is_video_folder(path) or len(path.parts) > 1:
        return load_video_folder(path, split)
    close = difflib.get_close_matches(name, VIDEO_DATASETS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"Try one of {', '.join(VIDEO_DATASETS)}."
    raise ValueError(
        "`name` must be a known video data set, a folder laid out as DIR/CLASS/VIDEO.mp4 or a CSV "
        f"file, got {name!r}; {hint}"
    )


def _first_found(
    name: str, data_root: str | Path | None, load: Callable[[Path], VideoSet]
) -> VideoSet:
    """Try the places in which a data set may lie; report what the first one lacks."""
    stated = data_root if data_root is not None else os.environ.get("ODEVISION_DATA")
    roots = [cache_folder()] if stated is None else [Path(stated)]
    roots += [cache_folder()] if data_root is None and stated is not None else []
    places = [place for root in roots for folder in _FOLDERS[name] if (place := root / folder)]
    there = [place for place in places if place.is_dir()]
    reason: DataNotFoundError | None = None
    for place in there:
        try:
            return load(place)
        except DataNotFoundError as error:
            reason = reason or error
    detail = str(reason) if reason is not None else f"there is no {' or '.join(map(str, roots))}."
    raise DataNotFoundError(
        f"{name} is not downloaded by itself: give the folder that holds it by --data-root or "
        f"$ODEVISION_DATA. {detail}"
    )
