"""Progressive resizing: small training images first, which cost less, full ones at the end."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from odevision.training.config import TrainConfig
from odevision.types import Images

NUM_SIZES = 8
"""Sides grow by an eighth of the full one (4 pixels of 32), so that few sizes occur."""


def training_side(config: TrainConfig, epoch: int, full_side: int) -> int:
    """Side of the training images in an epoch.

    Reference: the progressive learning of Tan and Le 2021, arXiv 2104.00298, without its growing
    augmentation.

    Args:
        config: of the run; without `data.progressive_size` every epoch has the full side.
        epoch: counted from 0.
        full_side: of the images as they are loaded, in pixels.

    Returns:
        Pixels, from `data.progressive_size` to `full_side`, which the epochs behind
        `data.progressive_fraction` have, the last one always. The sizes before share the others.
    """
    smallest = config.data.progressive_size
    if smallest is None:
        return full_side
    num_small = int(config.data.progressive_fraction * config.epochs)
    if epoch >= num_small:
        return full_side
    sides = range(smallest, full_side, max(1, full_side // NUM_SIZES))
    return sides[len(sides) * epoch // num_small]


def shrink(images: Images, side: int) -> Float[Tensor, "batch channels side side"]:
    """Resize square images, with antialiasing; those of that side are returned as they are."""
    if side == images.shape[-1]:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)
