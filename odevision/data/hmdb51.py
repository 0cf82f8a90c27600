"""HMDB51: 6,766 clips of 51 actions from films and the web, in the official three splits."""

import logging
from pathlib import Path
from typing import Literal

import torch

from odevision.data.locate import DataNotFoundError
from odevision.data.video_set import VideoSet

logger = logging.getLogger(__name__)

_LIST_FOLDERS = ("testTrainMulti_7030_splits", "splits", "")
_VIDEO_FOLDERS = ("hmdb51_org", "videos", "")
_ROLES = {"train": "1", "test": "2"}


def load_hmdb51(root: Path, split: Literal["train", "test"], *, split_index: int = 1) -> VideoSet:
    """List the videos of an official split.

    The layout is that of the two archives, unpacked: `hmdb51_org/CLASS/*.avi` beside
    `testTrainMulti_7030_splits/CLASS_test_split1.txt`. A group is what the name has before the
    class: the film or the web video that the clip was cut from. The official lists divide a film's
    clips class by class, so that one may be in training with one class and in test with another.

    Args:
        root: Folder that holds both.
        split: "train" or "test".
        split_index: Which of the three official splits, 1 to 3.

    Returns:
        The split, sorted by class and as in the official lists. Listed videos that are missing are
        left out, with a warning that counts them.

    Raises:
        ValueError: If `split_index` is none of the three.
        DataNotFoundError: If videos or lists are not there.
    """
    if split_index not in (1, 2, 3):
        raise ValueError(f"`split_index` must be 1, 2 or 3, got {split_index}.")
    ending = f"_test_split{split_index}.txt"
    lists = next((f for name in _LIST_FOLDERS if any((f := root / name).glob(f"*{ending}"))), None)
    if lists is None:
        raise DataNotFoundError(
            f"{root}: has no lists testTrainMulti_7030_splits/CLASS{ending}. HMDB51 comes as two "
            "archives; unpack both there. See https://serre-lab.clps.brown.edu/resource/hmdb-a-"
            "large-human-motion-database."
        )
    names = sorted(file.name.removesuffix(ending) for file in lists.glob(f"*{ending}"))
    videos = next((f for n in _VIDEO_FOLDERS if any(((f := root / n) / c).is_dir() for c in names)),
                  None)  # fmt: skip
    if videos is None:
        raise DataNotFoundError(f"{root}: has no folder hmdb51_org/CLASS of an action of HMDB51.")
    class_names = tuple(name for name in names if (videos / name).is_dir())
    paths, num_missing = [], 0
    for name in class_names:
        for line in (lists / f"{name}{ending}").read_text(encoding="utf-8").splitlines():
            file, _, role = line.strip().rpartition(" ")
            if role != _ROLES[split]:
                continue
            path = videos / name / file.strip()
            if path.is_file():
                paths.append(path)
            else:
                num_missing += 1
    if num_missing:
        logger.warning(
            "%s: has %d of %d %s videos", videos, len(paths), len(paths) + num_missing, split
        )
    if not paths:
        raise DataNotFoundError(f"{videos}: has no {split} video of HMDB51's lists.")
    return VideoSet(
        paths=tuple(paths),
        labels=torch.tensor([class_names.index(path.parent.name) for path in paths]),
        groups=tuple(path.name.partition(f"_{path.parent.name}_")[0] for path in paths),
        class_names=class_names,
        name="hmdb51",
        split=split,
    )
