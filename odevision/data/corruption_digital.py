"""Contrast, distortion and compression: four of the usual corruptions."""

import io
from collections.abc import Callable

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from odevision.data.corruption_blur import gaussian_blurred
from odevision.types import Images

CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)

ELASTIC = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05))
ELASTIC = (*ELASTIC, (0.1, 0.03, 0.03))
"""Strength and smoothness of the waves, and jitter of three points, as shares of the side."""

PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
JPEG_QUALITIES = (80, 65, 58, 50, 40)


def contrast(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Pull each channel towards its mean over the image.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: not used.
    """
    del generator
    means = images.mean(dim=(2, 3), keepdim=True)
    return (images - means) * CONTRAST[severity - 1] + means


def _sampled(images: Images, places: Float[Tensor, "batch height width 2"], border: str) -> Images:
    """Sample images bilinearly at places (x, y) in pixels.

    Beyond the border they are mirrored: `symmetric` repeats border pixels, `reflect` does not.
    """
    height, width = images.shape[2:]
    size = torch.tensor([width, height], dtype=torch.float32)
    corners = border == "reflect"
    scaled = 2 * places / (size - 1) - 1 if corners else (2 * places + 1) / size - 1
    return functional.grid_sample(
        images, scaled, mode="bilinear", padding_mode="reflection", align_corners=corners
    )


def _affine_places(images: Images, jitter: float, generator: torch.Generator) -> Tensor:
    """Where an affine map that moves three points at random fetches each pixel from."""
    batch, _, height, width = images.shape
    middle_x, middle_y, reach = width // 2, height // 2, min(height, width) // 3
    points = torch.tensor(
        [
            [middle_x + reach, middle_y + reach],
            [middle_x + reach, middle_y - reach],
            [middle_x - reach, middle_y - reach],
        ],
        dtype=torch.float32,
    )
    moved = points + jitter * (2 * torch.rand(batch, 3, 2, generator=generator) - 1)
    # Rows (x, y, 1) times `back` give the source of a moved point.
    back = torch.linalg.solve(
        torch.cat([moved, torch.ones(batch, 3, 1)], dim=2), points.expand_as(moved)
    )
    grid = _pixel_grid(height, width)
    return torch.cat([grid, torch.ones(height, width, 1)], dim=2).flatten(0, 1).matmul(back)


def _pixel_grid(height: int, width: int) -> Float[Tensor, "height width 2"]:
    """The place (x, y) of each pixel."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32),
        torch.arange(width, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack([x, y], dim=2)


def elastic_transform(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Stretch an image by a random affine map and bend it by smooth random waves.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: source of all randomness, on the CPU.
    """
    strength, smoothness, jitter = ELASTIC[severity - 1]
    batch, _, height, width = images.shape
    side = min(height, width)
    places = _affine_places(images, jitter * side, generator).view(batch, height, width, 2)
    images = _sampled(images, places, "reflect")
    if strength == 0:
        return images
    waves = 2 * torch.rand(batch, 2, height, width, generator=generator) - 1
    waves = gaussian_blurred(waves, smoothness * side, truncate=3, mode="symmetric")
    shifts = strength * side * waves.permute(0, 2, 3, 1)
    return _sampled(images, _pixel_grid(height, width) + shifts, "symmetric")


def _each_picture(images: Images, change: Callable[[PIL.Image.Image], PIL.Image.Image]) -> Images:
    """Change 8-bit pictures one by one."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    if pixels.shape[3] == 1:
        pixels = pixels[:, :, :, 0]
    changed = np.stack([np.asarray(change(PIL.Image.fromarray(one))) for one in pixels])
    result = torch.from_numpy(changed).view(*changed.shape[:3], -1).permute(0, 3, 1, 2)
    return result.contiguous().float() / 255


def pixelate(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Shrink an image and enlarge it again with visible pixels.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: not used.
    """
    del generator
    share = PIXELATE[severity - 1]

    def change(picture: PIL.Image.Image) -> PIL.Image.Image:
        small = (max(1, int(picture.width * share)), max(1, int(picture.height * share)))
        box = PIL.Image.Resampling.BOX
        return picture.resize(small, box).resize(picture.size, box)

    return _each_picture(images, change)


def jpeg_compression(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Store an image as a JPEG of low quality.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: not used.
    """
    del generator

    def change(picture: PIL.Image.Image) -> PIL.Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=JPEG_QUALITIES[severity - 1])
        return PIL.Image.open(file)

    return _each_picture(images, change)
