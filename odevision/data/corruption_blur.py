"""Blur: four of the usual corruptions, batch-wise, and the filters that other corruptions share."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from odevision.types import FeatureMaps, Images, Number

DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
"""Radius of the disk and sigma of its soft edge, in pixels."""

GLASS = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
"""Sigma of the blur, reach of a shift, and rounds of shifts, in pixels."""

MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
"""Radius and sigma of the one-sided trail, in pixels."""

ZOOM_ENDS = (1.06, 1.11, 1.16, 1.21, 1.26)


def gaussian_weights(sigma: float, radius: int) -> Float[Tensor, " taps"]:
    """Return a Gaussian at the integers from -radius to radius, with sum 1.

    Args:
        sigma: in pixels, above 0.
        radius: in pixels.
    """
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    return (weights / weights.sum()).float()


def pad_symmetric(images: Images, radius: int) -> FeatureMaps:
    """Continue images beyond their borders by mirroring, the border pixels twice.

    Args:
        images: of any range.
        radius: pixels to add on each side, at most the size of the image.
    """

    def places(size: int) -> Tensor:
        inside = torch.arange(-radius, size + radius) % (2 * size)
        return torch.minimum(inside, 2 * size - 1 - inside)

    height, width = images.shape[2:]
    return images.index_select(2, places(height)).index_select(3, places(width))


def gaussian_blurred(images: Images, sigma: float, *, truncate: Number, mode: str) -> Images:
    """Blur with a Gaussian.

    Args:
        images: of any range.
        sigma: in pixels, above 0.
        truncate: where the filter ends, in units of sigma.
        mode: `nearest` repeats border pixels beyond the border, `symmetric` mirrors.
    """
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return images
    channels = images.shape[1]
    padded = (
        pad_symmetric(images, radius)
        if mode == "symmetric"
        else functional.pad(images, (radius,) * 4, mode="replicate")
    )
    weights = gaussian_weights(sigma, radius)
    rows = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    padded = functional.conv2d(padded, rows, groups=channels)
    return functional.conv2d(padded, columns, groups=channels)


def zoomed(images: Images, factor: float) -> Images:
    """Enlarge the middle of images to their full size, bilinearly.

    Args:
        images: square, of any range.
        factor: at least 1.
    """
    size = images.shape[2]
    side = math.ceil(size / factor)
    start = (size - side) // 2
    middle = images[:, :, start : start + side, start : start + side]
    large = round(side * factor)
    large_images = functional.interpolate(
        middle, size=(large, large), mode="bilinear", align_corners=True
    )
    start = (large - size) // 2
    return large_images[:, :, start : start + size, start : start + size]


def motion_blurred(
    images: Images, radius: int, sigma: float, angles: Float[Tensor, " batch"]
) -> Images:
    """Blur along a line that begins at each pixel, with half a Gaussian as weights.

    That is ImageMagick's motion blur: a trail, not a symmetric filter.

    Args:
        images: of any range.
        radius: the trail is 2 radius + 1 pixels long.
        sigma: of the weights, in pixels.
        angles: direction of each image's trail, in degrees; 0 points to the right, 90 down.
    """
    height, width = images.shape[2:]
    steps = torch.arange(2 * radius + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = weights / weights.sum()
    radians = angles * (math.pi / 180)
    # Shape (taps, batch): the nearest pixel to each place on the line.
    shift_x = torch.ceil(steps[:, None] * radians.cos() - 0.5).long()
    shift_y = torch.ceil(steps[:, None] * radians.sin() - 0.5).long()
    x, y = torch.arange(width), torch.arange(height)
    flat = images.flatten(2)
    total = torch.zeros_like(flat)
    for weight, dx, dy in zip(weights.tolist(), shift_x, shift_y, strict=True):
        if weight < 1e-5:  # beyond four sigma: nothing that 8 bits would show
            break
        rows = (y + dy[:, None]).clamp(0, height - 1)
        columns = (x + dx[:, None]).clamp(0, width - 1)
        places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
        total.add_(flat.gather(2, places[:, None].expand_as(flat)), alpha=weight)
    return total.view_as(images)


def defocus_blur(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Spread each pixel over a disk with a soft edge: a lens out of focus.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: not used.
    """
    del generator
    radius, sigma = DEFOCUS[severity - 1]
    reach = math.ceil(radius) + 1
    places = torch.arange(-reach, reach + 1)
    disk = (places[:, None] ** 2 + places**2 <= radius**2).float()
    edge = gaussian_weights(sigma, 1)
    soft = (edge[:, None] * edge).view(1, 1, 3, 3)
    kernel = functional.conv2d((disk / disk.sum())[None, None], soft, padding=1)
    channels = images.shape[1]
    padded = functional.pad(images, (reach,) * 4, mode="reflect")
    return functional.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def glass_blur(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Let each pixel show a random neighbor, between two slight blurs: frosted glass.

    The paper swaps neighbors. The program that made the published images copies them instead (a
    swap of two NumPy views does), and so does this: numbers stay comparable.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: source of all randomness, on the CPU.
    """
    sigma, reach, rounds = GLASS[severity - 1]
    batch, _, height, width = images.shape
    images = gaussian_blurred(images, sigma, truncate=4, mode="nearest")
    x, y = torch.arange(width), torch.arange(height)
    # The first rows and columns stay: they have no neighbors above or to the left within reach.
    moves = ((y > reach)[:, None] & (x > reach)).long()
    for _ in range(rounds):
        # A neighbor lies 0 to `reach` above and to the left, never below: as in the published set.
        drawn = torch.randint(0, 2 * reach, (2, batch, height, width), generator=generator)
        shift_y, shift_x = (drawn - reach) * moves
        places = ((y[:, None] + shift_y) * width + x + shift_x).flatten(1)
        flat = images.flatten(2)
        images = flat.gather(2, places[:, None].expand_as(flat)).view_as(images)
    return gaussian_blurred(images, sigma, truncate=4, mode="nearest")


def motion_blur(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Smear each image along a line of its own: a camera that moves.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: source of all randomness, on the CPU.
    """
    radius, sigma = MOTION[severity - 1]
    angles = torch.rand(len(images), generator=generator) * 90 - 45
    return motion_blurred(images, radius, sigma, angles)


def zoom_blur(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Average an image over rising zooms: a camera that approaches.

    Args:
        images: 0 to 1, square.
        severity: 1 to 5.
        generator: not used.
    """
    del generator
    # With the rounding of np.arange, which decides whether the last zoom is among them.
    factors = np.arange(1, ZOOM_ENDS[severity - 1], 0.01).tolist()
    total = images.clone()
    for factor in factors:
        total += zoomed(images, factor)
    return total / (len(factors) + 1)
