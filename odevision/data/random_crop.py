"""Random resized crops of single pictures, from their own resolution."""

import PIL.Image
from jaxtyping import Float
from torch import Tensor

from odevision.data.augmentation import Augmentation
from odevision.data.geometric import crop_boxes


def crop_picture(
    picture: PIL.Image.Image,
    image_size: int,
    augmentation: Augmentation,
    uniform: Float[Tensor, " 4"],
) -> PIL.Image.Image:
    """Cut a random rectangle out of a picture and resize it to a square, antialiased.

    Args:
        picture: In mode "L" or "RGB", of any size.
        image_size: Height and width of the result, in pixels.
        augmentation: Its `crop_scale` and `crop_ratio` choose the rectangle.
        uniform: Numbers in [0, 1) that choose, on the host.

    Returns:
        A new picture in the same mode.
    """
    assert augmentation.crop_scale is not None
    box = crop_boxes(
        augmentation.crop_scale,
        augmentation.crop_ratio,
        uniform[None],
        picture.height,
        picture.width,
    )[0].tolist()
    # Rounding may put an edge a hair outside, which Pillow refuses.
    box = (box[0], box[1], min(box[2], picture.width), min(box[3], picture.height))
    size = (image_size, image_size)
    return picture.resize(size, PIL.Image.Resampling.BICUBIC, box=box)
