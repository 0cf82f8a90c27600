"""A split of a data set: pictures with labels, in memory or as files."""

import dataclasses
from pathlib import Path

import PIL.Image
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from odevision.data.hashing import hash_indices


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Labeled pictures, either in memory (`images`) or as files to read when needed (`paths`).

    Args:
        images: All pictures, 0 to 255, or None if they are too many to hold.
        paths: Their files if `images` is None, else None.
        labels: Index into `class_names` of each picture.
        class_names: Names of the classes.
        name: Name of the data set.
        split: "train", "validation" or "test".
    """

    images: UInt8[Tensor, "num channels height width"] | None
    paths: tuple[Path, ...] | None = None
    labels: Int64[Tensor, " num"]
    class_names: tuple[str, ...]
    name: str
    split: str

    def __post_init__(self) -> None:
        """Validate."""
        held = self.images if self.paths is None else self.paths
        if held is None or (self.images is not None and self.paths is not None):
            raise ValueError("`images` or `paths` must be given, and not both.")
        num_images = len(held)
        if num_images != len(self.labels):
            raise ValueError(
                f"`labels` must have one entry a picture, got {len(self.labels)} labels for "
                f"{num_images} pictures."
            )

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.labels)

    def select(self, indices: Int64[Tensor, " chosen"], *, split: str | None = None) -> "ImageSet":
        """Return the pictures at `indices`, in that order.

        Args:
            indices: Positions in [0, len(self)).
            split: Name of the new split; by default the same.

        Returns:
            A set of its own (memory is copied).
        """
        images = None if self.images is None else self.images.index_select(0, indices)
        paths = None if self.paths is None else tuple(self.paths[i] for i in indices.tolist())
        return dataclasses.replace(
            self,
            images=images,
            paths=paths,
            labels=self.labels[indices],
            split=split or self.split,
        )


def carve_validation(
    labels: Int64[Tensor, " num"], *, fraction: float, seed: int
) -> tuple[Int64[Tensor, " num_train"], Int64[Tensor, " num_validation"]]:
    """Divide training pictures into those to train on and those to validate on, class by class.

    The same labels, fraction and seed give the same division in every run and version, so weights
    trained elsewhere are never validated on their own training pictures.

    Args:
        labels: Class of each picture.
        fraction: Share of each class to validate on, in (0, 1); rounded so that the whole is
            right too, but at least one picture of a class of two or more goes to either side.
        seed: Selects the division.

    Returns:
        Sorted indices of the training and of the validation pictures; they are disjoint and
        together complete.

    Raises:
        ValueError: If `fraction` is out of range.
    """
    if not 0 < fraction < 1:
        raise ValueError(
            f"`validation_fraction` must be between 0 and 1 (both excluded), got {fraction}. "
            "Try 0.1."
        )
    keys = hash_indices(torch.arange(len(labels)), seed=seed)
    is_validation = torch.zeros(len(labels), dtype=torch.bool)
    num_seen = 0
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        # Rounding the running total keeps the classes' rounding errors from adding up.
        count = round(fraction * (num_seen + len(members))) - round(fraction * num_seen)
        count = min(max(1, count), len(members) - 1)
        is_validation[members[keys[members].argsort()[:count]]] = True
        num_seen += len(members)
    return (~is_validation).nonzero().flatten(), is_validation.nonzero().flatten()


def to_picture(image: UInt8[Tensor, "channels height width"]) -> PIL.Image.Image:
    """Return an image tensor as a picture, pixel by pixel the same.

    Args:
        image: 0 to 255; one channel becomes grayscale, three become color.
    """
    pixels = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    return PIL.Image.fromarray(pixels.contiguous().cpu().numpy())
