"""A split of a video data set: files with labels and groups, never one group on both sides."""

import dataclasses
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from odevision.data.hashing import hash_integer


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class VideoSet:
    """Labeled videos, as files.

    Args:
        paths: The files.
        labels: Index into `class_names` of each.
        groups: For each, a name that videos of one person, place or source video share. Frames of a
            group look alike, so a network that was trained on some of it knows the others.
        class_names: Names of the classes.
        name: Name of the data set.
        split: "train", "validation" or "test".
    """

    paths: tuple[Path, ...]
    labels: Int64[Tensor, " num"]
    groups: tuple[str, ...]
    class_names: tuple[str, ...]
    name: str
    split: str

    def __post_init__(self) -> None:
        """Validate."""
        if not len(self.paths) == len(self.labels) == len(self.groups):
            raise ValueError(
                "`labels` and `groups` must have one entry a video, got "
                f"{len(self.labels)} and {len(self.groups)} for {len(self.paths)} videos."
            )

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.paths)

    def select(self, indices: Int64[Tensor, " chosen"], *, split: str | None = None) -> "VideoSet":
        """Return the videos at `indices`, in that order.

        Args:
            indices: Positions in [0, len(self)).
            split: Name of the new split; by default the same.
        """
        return dataclasses.replace(
            self,
            paths=tuple(self.paths[i] for i in indices.tolist()),
            groups=tuple(self.groups[i] for i in indices.tolist()),
            labels=self.labels[indices],
            split=split or self.split,
        )


class LeakError(ValueError):
    """Two splits share a video, or videos of one group."""


def refuse_leak(training: VideoSet, other: VideoSet, *, within_classes: bool = False) -> None:
    """Refuse splits that share a group or a file.

    Args:
        training: What is trained on.
        other: What is validated or tested on.
        within_classes: Whether a group may be on both sides with different classes.

    Raises:
        LeakError: If they do; the message names a group, and a file of it on either side.
    """

    def keys(videos: VideoSet) -> list[tuple[str, int]]:
        labels = [0] * len(videos) if not within_classes else videos.labels.tolist()
        return list(zip(videos.groups, labels, strict=True))

    by_group = dict(zip(keys(training), training.paths, strict=True))
    by_file = {path.resolve(): path for path in training.paths}
    for (group, label), path in zip(keys(other), other.paths, strict=True):
        known = by_group.get((group, label)) or by_file.get(path.resolve())
        if known is not None:
            raise LeakError(
                f"`{other.split}` must share no group with `{training.split}`, got the group "
                f"{group} on both sides: {known} and {path}. Frames of a group look alike, so its "
                "accuracy would say nothing. Divide by whole groups."
            )


def carve_validation_groups(
    videos: VideoSet, *, fraction: float, seed: int
) -> tuple[VideoSet, VideoSet]:
    """Divide training videos into those to train on and those to validate on, by whole groups.

    Groups are drawn class by class, until a class has its share of videos on the validation side. A
    group that spans classes goes to one side with all of them. The same set, fraction and seed give
    the same division in every run.

    Args:
        videos: The training videos.
        fraction: Share of each class's videos to validate on, in (0, 1), met as nearly as whole
            groups allow; of a class with two or more groups one goes to either side.
        seed: Selects the division.

    Returns:
        The training and the validation videos, each in the order of `videos`.

    Raises:
        ValueError: If `fraction` is out of range, or no class has two groups.
    """
    if not 0 < fraction < 1:
        raise ValueError(
            f"`validation_fraction` must be between 0 and 1 (both excluded), got {fraction}. "
            "Try 0.15."
        )
    chosen: set[str] = set()
    kept: set[str] = set()
    for label in sorted(set(videos.labels.tolist())):
        members = [g for g, own in zip(videos.groups, videos.labels.tolist(), strict=True)
                   if own == label]  # fmt: skip
        _choose_groups(members, chosen, kept, fraction=fraction, seed=seed)
    if not chosen:
        raise ValueError(
            f"`validation_fraction` must leave groups on both sides, but no class of {videos.name} "
            "has two groups. Add videos of other people or places."
        )
    is_chosen = torch.tensor([group in chosen for group in videos.groups])
    training = videos.select((~is_chosen).nonzero().flatten(), split="train")
    validation = videos.select(is_chosen.nonzero().flatten(), split="validation")
    refuse_leak(training, validation)
    return training, validation


def _choose_groups(
    members: list[str], chosen: set[str], kept: set[str], *, fraction: float, seed: int
) -> None:
    """Sort one class's groups into `chosen` and `kept`."""
    groups = sorted(set(members), key=lambda group: (_hash(group, seed), group))
    wanted = fraction * len(members)
    num_chosen = sum(group in chosen for group in members)
    free = [group for group in groups if group not in chosen and group not in kept]
    for index, group in enumerate(free):
        size = members.count(group)
        # One group at least stays on the training side.
        is_last = index == len(free) - 1 and not any(one in kept for one in groups)
        if num_chosen + size / 2 <= wanted and not is_last:
            chosen.add(group)
            num_chosen += size
        else:
            kept.add(group)
    if num_chosen == 0 and free and len(groups) > 1:  # All are large: the least of them.
        smallest = min(free, key=members.count)
        kept.remove(smallest)
        chosen.add(smallest)


def _hash(text: str, seed: int) -> int:
    # Names of files need not be UTF-8.
    return hash_integer(seed, *text.encode(errors="surrogateescape"))
