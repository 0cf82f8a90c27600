"""Progressive resizing: small training images first, which cost less, full ones at the end."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from odevision.training.config import DataConfig
from odevision.types import Images

NUM_SIZES = 8
"""Sides grow by an eighth of the full one (4 pixels of 32), so that few sizes occur."""


def training_side(data: DataConfig, epoch: int, full_side: int, *, epochs: int) -> int:
    """Side of the training images in an epoch.

    Reference: the progressive learning of Tan and Le 2021, arXiv 2104.00298, without its growing
    augmentation.

    Args:
        data: of the run; without `progressive_size` every epoch has the full side.
        epoch: counted from 0.
        full_side: of the images as they are loaded, in pixels.
        epochs: of the run.

    Returns:
        Pixels, from `progressive_size` to `full_side`, which the epochs behind
        `progressive_fraction` have, the last one always. The sizes before share the others.
    """
    smallest = data.progressive_size
    if smallest is None:
        return full_side
    num_small = int(data.progressive_fraction * epochs)
    if epoch >= num_small:
        return full_side
    sides = range(smallest, full_side, max(1, full_side // NUM_SIZES))
    return sides[len(sides) * epoch // num_small]


def shrink(images: Images, side: int) -> Float[Tensor, "batch channels side side"]:
    """Resize square images, with antialiasing; those of that side are returned as they are."""
    if side == images.shape[-1]:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)
