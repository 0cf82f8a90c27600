"""UCF101: 13,320 clips of 101 actions in the official three splits, or those of them at hand."""

import logging
import re
from pathlib import Path
from typing import Literal

import torch

from odevision.data.locate import DataNotFoundError
from odevision.data.video_set import VideoSet

logger = logging.getLogger(__name__)

UCF5_CLASSES = ("BodyWeightSquats", "BoxingPunchingBag", "JugglingBalls", "JumpingJack", "Lunges")
"""Five actions of people alone in a room, told apart by how they move."""

_VIDEO_FOLDERS = ("UCF-101", "clips", "")
_LIST_FOLDERS = ("ucfTrainTestlist", "splits", "")
_NAME = re.compile(r"v_(?P<group>.+_g\d+)_c\d+\.\w+")


def load_ucf101(
    root: Path,
    split: Literal["train", "test"],
    *,
    split_index: int = 1,
    class_names: tuple[str, ...] | None = None,
) -> VideoSet:
    """List the videos of an official split.

    Two layouts are known: the official one, `UCF-101/CLASS/v_*.avi` beside `ucfTrainTestlist/`, and
    `clips/CLASS/v_*.avi` beside `splits/`. Where only some classes are there, the set has those, in
    the order of the official index. A group is what the official names call so (`_g01`): one person
    in one place.

    Args:
        root: Folder that holds both.
        split: "train" or "test".
        split_index: Which of the three official splits, 1 to 3.
        class_names: Only these classes, all of which must be there; None takes all that are.

    Returns:
        The split, sorted as in the official list. Listed videos that are missing are left out, with
        a warning that counts them.

    Raises:
        ValueError: If `split_index` is none of the three, or a list is damaged.
        DataNotFoundError: If videos or lists are not there.
    """
    if split_index not in (1, 2, 3):
        raise ValueError(f"`split_index` must be 1, 2 or 3, got {split_index}.")
    lists = _find(root, _LIST_FOLDERS, "classInd.txt")
    official = [line.split()[-1] for line in _lines(lists / "classInd.txt")]
    videos = _video_folder(root, official)
    present = tuple(name for name in official if (videos / name).is_dir())
    names = present if class_names is None else class_names
    missing = [name for name in names if name not in present]
    if missing:
        raise DataNotFoundError(f"{videos}: has no folder for the class {missing[0]}.")
    paths, num_missing = [], 0
    for line in _lines(lists / f"{split}list{split_index:02}.txt"):
        relative = Path(line.split()[0])
        if relative.parts[0] not in names:
            continue
        path = videos / relative
        if path.is_file():
            paths.append(path)
        else:
            num_missing += 1
    if num_missing:
        logger.warning(
            "%s: has %d of the %d videos of %slist%02d.txt",
            videos, len(paths), len(paths) + num_missing, split, split_index,
        )  # fmt: skip
    if not paths:
        raise DataNotFoundError(f"{videos}: has no video of {split}list{split_index:02}.txt.")
    return VideoSet(
        paths=tuple(paths),
        labels=torch.tensor([names.index(path.parent.name) for path in paths]),
        groups=tuple(_group(path) for path in paths),
        class_names=names,
        name="ucf101" if class_names is None else "ucf5",
        split=split,
    )


def _find(root: Path, folders: tuple[str, ...], name: str) -> Path:
    for folder in folders:
        if (root / folder / name).exists():
            return root / folder
    raise DataNotFoundError(
        f"{root}: has no {name}. UCF101 comes as UCF-101/CLASS/*.avi and, in its own archive, "
        f"ucfTrainTestlist/{name}; put both there. See https://www.crcv.ucf.edu/data/UCF101.php."
    )


def _video_folder(root: Path, official: list[str]) -> Path:
    for folder in _VIDEO_FOLDERS:
        if any((root / folder / name).is_dir() for name in official):
            return root / folder
    raise DataNotFoundError(f"{root}: has no folder UCF-101/CLASS of an action of UCF101.")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataNotFoundError(f"{path}: is missing; it belongs to UCF101's lists.") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path}: is empty. Fetch UCF101's lists again.")
    return lines


def _group(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(
            f"{path}: must be named v_CLASS_gNN_cNN, as UCF101 is; the group is read from the name."
        )
    return match["group"]
