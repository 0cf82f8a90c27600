"""Changes to where pixels are: shift, mirror, crop, rotate, zoom, blank; a batch at a time."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64, Num
from torch import Tensor
from torch.nn import functional as F

Pictures = Num[Tensor, "batch channels height width"]
"""A batch of images, uint8 or floating point."""

ERASED_AREA = (0.02, 1 / 3)
"""Smallest and largest share of an image's area that random erasing blanks (arXiv 1708.04896)."""

ERASED_RATIO = (0.3, 3.3)
"""Smallest and largest width to height of what random erasing blanks, from the same paper."""


def shift_and_flip(
    images: Pictures,
    padding: int,
    uniform: Float[Tensor, "batch 2"],
    is_flipped: Bool[Tensor, " batch"] | None,
) -> Pictures:
    """Shift each image, continued by reflection, and mirror some.

    Args:
        images: On any device.
        padding: Largest shift, in pixels.
        uniform: Numbers in [0, 1) that choose the shifts, on the images' device.
        is_flipped: Which images are mirrored left to right; None for none.

    Returns:
        New images.
    """
    # One gather from computed positions: padding first and slicing then copies twice as much.
    batch, channels, height, width = images.shape
    shifts = (uniform * (2 * padding + 1)).long().clamp(max=2 * padding) - padding
    rows = _reflect(torch.arange(height, device=images.device) + shifts[:, :1], height)
    columns = torch.arange(width, device=images.device).expand(batch, width)
    if is_flipped is not None:
        columns = torch.where(is_flipped[:, None], width - 1 - columns, columns)
    columns = _reflect(columns + shifts[:, 1:], width)
    positions = rows[:, :, None] * width + columns[:, None, :]
    positions = positions.view(batch, 1, height * width).expand(batch, channels, height * width)
    return images.flatten(2).gather(2, positions).view(images.shape)


def _reflect(positions: Int64[Tensor, "batch side"], side: int) -> Int64[Tensor, "batch side"]:
    return (side - 1) - ((side - 1) - positions.abs()).abs()


def rotate_and_zoom(
    images: Pictures, rotation_degrees: float, scale: float, uniform: Float[Tensor, "batch 2"]
) -> Pictures:
    """Turn each image about its center and zoom it.

    Args:
        images: On any device.
        rotation_degrees: Largest rotation to either side.
        scale: Zoom factors are in [1 - scale, 1 + scale].
        uniform: Numbers in [0, 1) that choose, on the images' device.

    Returns:
        New images.
    """
    signed = 2 * uniform - 1
    angles = torch.deg2rad(signed[:, 0] * rotation_degrees)
    return rotate(images, angles, 1 + signed[:, 1] * scale)


def rotate(
    images: Pictures, angles: Float[Tensor, " batch"], zooms: Float[Tensor, " batch"]
) -> Pictures:
    """Turn each image about its center by its angle, and magnify it.

    Args:
        images: On any device.
        angles: In radians, on the images' device.
        zooms: Above 1 magnifies.

    Returns:
        New images.
    """
    height, width = images.shape[2:]
    # The grid's coordinates run from -1 to 1 along each side, so of an image that is not square
    # a rotation must be stretched.
    cosine, sine = torch.cos(angles) / zooms, torch.sin(angles) / zooms
    zero = torch.zeros_like(angles)
    row_x = torch.stack([cosine, -sine * height / width, zero], dim=1)
    row_y = torch.stack([sine * width / height, cosine, zero], dim=1)
    return warp(images, torch.stack([row_x, row_y], dim=1))


def resized_crop(
    images: Pictures,
    crop_scale: tuple[float, float],
    crop_ratio: tuple[float, float],
    uniform: Float[Tensor, "batch 4"],
) -> Pictures:
    """Cut a rectangle out of each image and stretch it to the whole image.

    The rectangle is never larger than the image, so pixels are magnified only, and bilinear
    sampling needs no antialiasing.

    Args:
        images: On any device.
        crop_scale: Smallest and largest share of the area.
        crop_ratio: Smallest and largest width to height.
        uniform: Numbers in [0, 1) that choose, on the images' device.

    Returns:
        New images.
    """
    height, width = images.shape[2:]
    left, top, right, bottom = crop_boxes(crop_scale, crop_ratio, uniform, height, width).unbind(1)
    zero = torch.zeros_like(left)
    row_x = torch.stack([(right - left) / width, zero, (left + right) / width - 1], dim=1)
    row_y = torch.stack([zero, (bottom - top) / height, (top + bottom) / height - 1], dim=1)
    return warp(images, torch.stack([row_x, row_y], dim=1))


def crop_boxes(
    crop_scale: tuple[float, float],
    crop_ratio: tuple[float, float],
    uniform: Float[Tensor, "batch 4"],
    height: int,
    width: int,
) -> Float[Tensor, "batch 4"]:
    """Choose the rectangles of random resized crops (Szegedy et al. 2015, arXiv 1409.4842).

    Area and the logarithm of width to height are uniform. Where such a rectangle does not fit, the
    side that is too long is shortened to the image's, and the other one until the ratio is allowed.
    Drawing again, as others do, would take a number of draws that differs from image to image.

    Args:
        crop_scale: Smallest and largest share of the area.
        crop_ratio: Smallest and largest width to height.
        uniform: Numbers in [0, 1): area, ratio, place across, place down.
        height: Of the images, in pixels.
        width: Of the images, in pixels.

    Returns:
        left, top, right, bottom of each rectangle, in pixels from the upper left corner.
    """
    low, high = crop_scale
    areas = (low + (high - low) * uniform[:, 0]) * (height * width)
    ratios = _log_uniform(crop_ratio, uniform[:, 1])
    # At least a pixel; a very flat image would otherwise be cut to less.
    widths = (areas * ratios).sqrt().clamp(1, width)
    heights = (areas / ratios).sqrt().clamp(1, height)
    widths = torch.minimum(widths, crop_ratio[1] * heights).clamp(min=1)
    heights = torch.minimum(heights, widths / crop_ratio[0]).clamp(min=1)
    left, top = uniform[:, 2] * (width - widths), uniform[:, 3] * (height - heights)
    return torch.stack([left, top, left + widths, top + heights], dim=1)


def _log_uniform(
    limits: tuple[float, float], uniform: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    low, high = limits
    return low * (high / low) ** uniform


def warp(images: Pictures, matrices: Float[Tensor, "batch 2 3"]) -> Pictures:
    """Sample images at linearly transformed positions, bilinearly, continued by reflection.

    Args:
        images: On any device.
        matrices: From a position in the result to one in the image; both run from -1 to 1 along
            each side, x before y.

    Returns:
        New images of the same dtype.
    """
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    source = images if images.is_floating_point() else images.float()
    # Between "reflection" pixels and a black margin there is no difference for digits; for photos
    # the reflection is the more natural one, as in the crop.
    sampled = F.grid_sample(
        source, grid.to(source.dtype), padding_mode="reflection", align_corners=False
    )
    return sampled if images.is_floating_point() else sampled.round_().to(images.dtype)


def cut_out(
    images: Pictures,
    side: int,
    uniform: Float[Tensor, "batch 2"],
    fill: Sequence[float] | None,
) -> None:
    """Blank a square at a random place inside each image, in place.

    Args:
        images: On any device; they are changed.
        side: Of the square, in pixels.
        uniform: Numbers in [0, 1) that choose the places, on the images' device.
        fill: Value of each channel; None for 0.
    """
    # Written as a scatter of the few pixels blanked: a mask costs ten times more.
    batch, channels, height, width = images.shape
    offsets = torch.arange(side, device=images.device)
    top = (uniform[:, :1] * (height - side + 1)).long().clamp(max=height - side)
    left = (uniform[:, 1:] * (width - side + 1)).long().clamp(max=width - side)
    rows, columns = top + offsets, left + offsets
    positions = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, side * side)
    values = _fill_values(images, fill).view(1, channels, 1)
    shape = (batch, channels, side * side)
    images.view(batch, channels, height * width).scatter_(
        2, positions.expand(shape), values.expand(shape)
    )


def erase(
    images: Pictures, uniform: Float[Tensor, "batch 4"], fill: Sequence[float] | None
) -> Pictures:
    """Blank a rectangle of random area, shape and place in each image (arXiv 1708.04896).

    Args:
        images: On any device.
        uniform: Numbers in [0, 1) that choose, on the images' device.
        fill: Value of each channel; None for 0.

    Returns:
        New images.
    """
    height, width = images.shape[2:]
    boxes = crop_boxes(ERASED_AREA, ERASED_RATIO, uniform, height, width)
    left, top, right, bottom = boxes.round().view(-1, 4, 1, 1).unbind(1)
    rows = torch.arange(height, device=images.device).view(1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, -1)
    is_blank = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    values = _fill_values(images, fill).view(1, -1, 1, 1)
    return torch.where(is_blank[:, None], values, images)


def _fill_values(images: Pictures, fill: Sequence[float] | None) -> Num[Tensor, " channels"]:
    values = torch.tensor([0.0] * images.shape[1] if fill is None else list(fill))
    if not images.is_floating_point():
        values = values.round()
    return values.to(images.dtype).to(images.device, non_blocking=True)
