"""A line of text burned into the frames of a video."""

import functools

import matplotlib as mpl
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch
from jaxtyping import UInt8
from torch import Tensor


def burn_caption(
    image: UInt8[Tensor, "3 height width"], text: str, share: float
) -> UInt8[Tensor, "3 height width"]:
    """Write a line at the bottom of a frame, over a dark band with a bar as long as a share.

    Args:
        image: the frame; it stays as it is.
        text: the line; what does not fit in the width is cut off.
        share: length of the bar, 0 to 1, such as the probability of the class in the line.

    Returns:
        A new frame of the same size.
    """
    picture = PIL.Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    draw = PIL.ImageDraw.Draw(picture, "RGBA")
    size = max(9, picture.height // 18)
    band = min(picture.height, round(1.7 * size))
    top = picture.height - band
    draw.rectangle((0, top, picture.width, picture.height), fill=(0, 0, 0, 150))
    if share > 0:  # NaN is not
        bar = (round(share * picture.width), picture.height)
        draw.rectangle((0, picture.height - max(2, size // 6), *bar), fill="#E69F00")
    draw.text((size // 3, top + size // 8), text, font=_font(size), fill="white")
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


@functools.cache
def _font(size: int) -> PIL.ImageFont.FreeTypeFont:
    # The font that matplotlib brings along is on every machine.
    file = f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    return PIL.ImageFont.truetype(file, size)
