"""Weather: four of the usual corruptions, batch-wise."""

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.data.corruption_blur import motion_blurred, zoomed
from odevision.types import Images

SNOW = (
    (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
)
"""Mean and sigma of the noise, zoom, threshold of a flake, radius and sigma of its trail, and how
much of the image's own contrast is kept."""

FROST = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
"""Weights of image and frost."""

FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
"""Amount of fog, and how fast its detail fades with finer scales."""

BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)

_LUMA = (0.299, 0.587, 0.114)

_FROST_LOOKS = (
    ((0.30, 0.58, 0.65), 0.070),
    ((0.79, 0.81, 0.84), 0.086),
    ((0.79, 0.81, 0.84), 0.086),
    ((0.54, 0.60, 0.65), 0.125),
    ((0.44, 0.48, 0.53), 0.180),
)
"""Color and contrast (standard deviation) of each frost texture: those of the photos that the
published images are made with, at their scale there."""

_TEXTURE_SIDE = 256


def snow(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Pale the image and let flakes fall across it, and as many turned by half a turn.

    Args:
        images: 0 to 1, square.
        severity: 1 to 5.
        generator: source of all randomness, on the CPU.
    """
    mean, sigma, zoom, threshold, radius, spread, kept = SNOW[severity - 1]
    batch, channels, height, width = images.shape
    flakes = torch.randn(batch, 1, height, width, generator=generator) * sigma + mean
    flakes = zoomed(flakes, zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    angles = -135 + 90 * torch.rand(batch, generator=generator)
    flakes = motion_blurred(flakes, int(radius), spread, angles)
    gray = images
    if channels == 3:
        gray = torch.einsum("bchw,c->bhw", images, torch.tensor(_LUMA))[:, None]
    pale = torch.maximum(images, gray * 1.5 + 0.5)
    return kept * images + (1 - kept) * pale + flakes + flakes.flip(2, 3)


@functools.cache
def frost_texture(number: int) -> Float[Tensor, "side side"]:
    """Grow ice crystals: needles of all directions on a cloudy ground; mean 0, deviation 1.

    The crystals are scattered points smeared along each of 16 directions. The whole is periodic.
    Clouds and needles are weighed so that detail falls off with its scale as in photos of frost.

    Args:
        number: which texture; each has its own seed.
    """
    side = _TEXTURE_SIDE
    generator = torch.Generator().manual_seed(1_000 + number)
    frequency = torch.fft.fftfreq(side)
    fy, fx = frequency[:, None], frequency[None, :]
    radius = torch.hypot(fy, fx)
    radius[0, 0] = torch.inf
    clouds = torch.fft.fft2(torch.randn(side, side, generator=generator)) / radius**1.5
    texture = 0.6 * _standard(torch.fft.ifft2(clouds).real)
    crystals = torch.zeros(side, side)
    for index in range(16):
        angle = math.pi * index / 16
        along = fx * math.cos(angle) + fy * math.sin(angle)
        across = fy * math.cos(angle) - fx * math.sin(angle)
        # A Gaussian, in frequencies. Needles so thin are jagged, as photos are that were made
        # smaller without a filter.
        needle = torch.exp(-2 * math.pi**2 * ((1.2 * along) ** 2 + (0.25 * across) ** 2))
        points = (torch.rand(side, side, generator=generator) < 0.02).float()
        points = points * torch.randn(side, side, generator=generator)
        needles = torch.fft.ifft2(torch.fft.fft2(points) * needle).real
        # The needle on top is the one that stands out most, bright or dark.
        crystals = torch.where(needles.abs() > crystals.abs(), needles, crystals)
    return _standard(texture + _standard(crystals))


def _standard(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std()


def frost(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Lay ice crystals over the image.

    The published images use photos of frost, which aren't part of this package: the crystals are
    grown (`frost_texture`), with the colors, contrast and fineness of those photos. Accuracies are
    close to those with the photos (within 4 points on one network), and not the same.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: source of all randomness, on the CPU.
    """
    kept, amount = FROST[severity - 1]
    batch, channels, height, width = images.shape
    which = torch.randint(len(_FROST_LOOKS), (batch,), generator=generator)
    start = torch.randint(_TEXTURE_SIDE, (2, batch), generator=generator)
    rows = (start[0][:, None] + torch.arange(height)) % _TEXTURE_SIDE
    columns = (start[1][:, None] + torch.arange(width)) % _TEXTURE_SIDE
    textures = torch.stack([frost_texture(number) for number in range(len(_FROST_LOOKS))])
    ice = textures[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    colors = torch.tensor([color for color, _ in _FROST_LOOKS])[which]
    if channels == 1:
        colors = colors.mean(dim=1, keepdim=True)
    contrast = torch.tensor([contrast for _, contrast in _FROST_LOOKS])[which]
    layer = colors[:, :, None, None] + contrast[:, None, None, None] * ice[:, None]
    return kept * images + amount * layer.clamp(0, 1)


def plasma(
    batch: int, side: int, decay: float, generator: torch.Generator
) -> Float[Tensor, "batch side side"]:
    """Make clouds by the diamond-square algorithm, periodic, from 0 to 1.

    Each round halves the distance of the known points: the middle of each square becomes the mean
    of its corners plus noise, then the middle of each edge likewise.

    Args:
        batch: number of maps.
        side: of a map, a power of two.
        decay: the noise falls by decay^2 from round to round.
        generator: source of all randomness, on the CPU.
    """
    maps = torch.zeros(batch, side, side)
    amplitude, step = 1.0, side
    while step >= 2:
        half = step // 2
        corners = maps[:, ::step, ::step]
        pairs = corners + corners.roll(-1, dims=1)
        centers = _middle(pairs + pairs.roll(-1, dims=2), amplitude, generator)
        maps[:, half::step, half::step] = centers
        beside = centers + centers.roll(1, dims=1) + corners + corners.roll(-1, dims=2)
        maps[:, ::step, half::step] = _middle(beside, amplitude, generator)
        below = centers + centers.roll(1, dims=2) + corners + corners.roll(-1, dims=1)
        maps[:, half::step, ::step] = _middle(below, amplitude, generator)
        amplitude, step = amplitude / decay**2, half
    lowest, highest = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - lowest) / (highest - lowest)


def _middle(total: Tensor, amplitude: float, generator: torch.Generator) -> Tensor:
    """The mean of four values, whose sum is given, plus even noise."""
    return total / 4 + amplitude * (2 * torch.rand(total.shape, generator=generator) - 1)


def fog(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Lay pale clouds over the image and lower its contrast.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: source of all randomness, on the CPU.
    """
    amount, decay = FOG[severity - 1]
    batch, _, height, width = images.shape
    side = 2 ** math.ceil(math.log2(max(height, width, 2)))
    clouds = plasma(batch, side, decay, generator)[:, None, :height, :width]
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    return (images + amount * clouds) * brightest / (brightest + amount)


def brightness(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Raise the value of each pixel in HSV, hue and saturation kept.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: not used.
    """
    del generator
    value = images.amax(dim=1, keepdim=True)
    raised = (value + BRIGHTNESS[severity - 1]).clamp(max=1)
    # Black has no hue: it becomes gray.
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-6)), raised)
