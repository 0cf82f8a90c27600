"""Changes to the values of pixels: color, blur, JPEG. A whole batch at a time, values 0 to 255."""

import io
import math

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from odevision.data.geometric import Pictures

Colors = Float[Tensor, "batch channels height width"]
"""A batch of images with values from 0 to 255, floating point."""

# Luma of ITU-R BT.601, which Pillow and JPEG use too, and the two color axes of YIQ.
_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


def luma(images: Colors) -> Float[Tensor, "batch 1 height width"]:
    """Brightness of each pixel as the eye weighs the channels; of one channel, that channel."""
    if images.shape[1] == 1:
        return images
    red, green, blue = _TO_YIQ[0]
    return red * images[:, :1] + green * images[:, 1:2] + blue * images[:, 2:]


def blend(images: Colors, base: Float[Tensor, "..."], factors: Float[Tensor, " batch"]) -> Colors:
    """Move each image away from `base` (factor > 1) or towards it (factor < 1).

    Args:
        images: Where factor 1 is.
        base: Where factor 0 is; of a shape that broadcasts.
        factors: One an image.

    Returns:
        New images, kept within 0 to 255.
    """
    factors = factors.view(-1, 1, 1, 1)
    return (factors * images + (1 - factors) * base).clamp_(0, 255)


def jitter(
    images: Colors,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    uniform: Float[Tensor, "batch 4"],
) -> Colors:
    """Change brightness, contrast, saturation and hue of each image, in this order.

    Args:
        images: On any device.
        brightness: Factors are uniform in [1 - brightness, 1 + brightness]; 0 leaves it.
        contrast: Likewise; the pivot is the image's mean luma.
        saturation: Likewise; the pivot is the pixel's luma. Three channels.
        hue: Largest turn of the color circle to either side, as a share of the whole circle. Colors
            turn about the gray axis in YIQ, which keeps each pixel's luma and is linear; HSV, which
            others use, has neither property. Three channels.
        uniform: Numbers in [0, 1) that choose, on the images' device.

    Returns:
        New images, kept within 0 to 255.
    """
    signed = 2 * uniform - 1
    if brightness:
        images = blend(images, torch.zeros_like(images[:1]), 1 + brightness * signed[:, 0])
    if contrast:
        mean = luma(images).mean(dim=(2, 3), keepdim=True)
        images = blend(images, mean, 1 + contrast * signed[:, 1])
    if saturation:
        images = blend(images, luma(images), 1 + saturation * signed[:, 2])
    if hue:
        images = _turn_hue(images, 2 * math.pi * hue * signed[:, 3])
    return images


def _turn_hue(images: Colors, angles: Float[Tensor, " batch"]) -> Colors:
    to_yiq = torch.tensor(_TO_YIQ, dtype=torch.float64)
    from_yiq = torch.linalg.inv(to_yiq).to(images.dtype).to(images.device, non_blocking=True)
    to_yiq = to_yiq.to(images.dtype).to(images.device, non_blocking=True)
    cosine, sine = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    rotation = torch.stack([one, zero, zero, zero, cosine, -sine, zero, sine, cosine], dim=1)
    matrices = from_yiq @ rotation.view(-1, 3, 3).to(images.dtype) @ to_yiq
    return (matrices @ images.flatten(2)).view(images.shape).clamp_(0, 255)


def to_gray(images: Colors) -> Colors:
    """Replace all channels by the luma."""
    return luma(images).expand(images.shape).contiguous()


def blur(images: Colors, sigma: tuple[float, float], uniform: Float[Tensor, " batch"]) -> Colors:
    """Smooth each image by a Gaussian of its own width, continued by reflection.

    Args:
        images: On any device.
        sigma: Smallest and largest standard deviation, in pixels.
        uniform: Numbers in [0, 1) that choose, on the images' device.

    Returns:
        New images.
    """
    low, high = sigma
    sigmas = low + (high - low) * uniform
    # Three standard deviations hold 99.7 % of the weight; the reflection needs a smaller reach
    # than the image has.
    reach = min(math.ceil(3 * high), min(images.shape[2:]) - 1)
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    kernels = torch.exp(-0.5 * (offsets / sigmas[:, None]) ** 2)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).to(images.dtype)
    for dim in (2, 3):
        padding = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
        padded = F.pad(images, padding, mode="reflect")
        size = images.shape[dim]
        # A sum of shifted images: a convolution with a kernel an image has as many groups as the
        # batch has channels, and is slower.
        images = torch.zeros_like(images)
        for k in range(2 * reach + 1):
            images += kernels[:, k].view(-1, 1, 1, 1) * padded.narrow(dim, k, size)
    return images


def jpeg(images: Pictures, quality: tuple[int, int], uniform: Float[Tensor, " batch"]) -> Pictures:
    """Write each image as a JPEG file in memory and read it back.

    A true encoder on the host, with colors at half the resolution as in most files of the web.
    Waits for a GPU that holds the images.

    Args:
        images: One or three channels, on any device; of floating point numbers, which are rounded.
        quality: Lowest and highest quality, from 1 to 100.
        uniform: Numbers in [0, 1) that choose the qualities.

    Returns:
        New images of the same dtype on the same device.
    """
    low, high = quality
    pixels = images.cpu()
    if pixels.dtype != torch.uint8:
        pixels = pixels.round().clamp(0, 255).to(torch.uint8)
    qualities = (low + (uniform * (high - low + 1)).long()).clamp(max=high).tolist()
    coded = [_through_jpeg(image, q) for image, q in zip(pixels, qualities, strict=True)]
    return torch.stack(coded).to(images.device, images.dtype)


def _through_jpeg(
    image: UInt8[Tensor, "channels height width"], quality: int
) -> UInt8[Tensor, "channels height width"]:
    pixels = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    with io.BytesIO() as file:
        PIL.Image.fromarray(pixels.contiguous().numpy()).save(file, "JPEG", quality=quality)
        with PIL.Image.open(file) as picture:
            decoded = torch.from_numpy(np.array(picture))
    return decoded[None] if image.shape[0] == 1 else decoded.permute(2, 0, 1)
