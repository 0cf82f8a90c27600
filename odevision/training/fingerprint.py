"""Whether the data of a run are still the same when it is resumed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from odevision.data.clip_loader import ClipLoader
from odevision.data.clip_source import MixedClips, VideoFiles
from odevision.data.image_set import ImageSet
from odevision.data.loader import BatchLoader
from odevision.training.batches import TrainingData

_EVERY = 8
"""Of images in memory, one pixel in so many along each side is looked at."""


def data_fingerprint(data: TrainingData) -> str:
    """Return 16 hex digits that change if files were added, removed or renamed, or labels changed.

    The position in an epoch and the validation split are numbers that mean nothing in other data.

    Args:
        data: of a run. Of files only their names are looked at, in their folders: the whole may
            have been moved.
    """
    digest = hashlib.blake2b(digest_size=8)
    for loader in (data.training, data.validation):
        _add(digest, loader)
    return digest.hexdigest()


def _add(digest: "hashlib.blake2b", loader: BatchLoader | ClipLoader) -> None:
    held = loader.image_set if isinstance(loader, BatchLoader) else loader.source
    _add_tensor(digest, held.labels)
    if isinstance(held, MixedClips):  # the others are made
        held = held.first
    if isinstance(held, VideoFiles):
        _add_names(digest, held.videos.paths)
    elif isinstance(held, ImageSet) and held.paths is not None:
        _add_names(digest, held.paths)
    elif isinstance(held, ImageSet) and held.images is not None:
        _add_tensor(digest, held.images[:, :, ::_EVERY, ::_EVERY])


def _add_tensor(digest: "hashlib.blake2b", values: Tensor) -> None:
    digest.update(values.contiguous().cpu().numpy().tobytes())


def _add_names(digest: "hashlib.blake2b", paths: Sequence[Path]) -> None:
    for path in paths:
        digest.update(f"{path.parent.name}/{path.name}\n".encode(errors="surrogateescape"))
