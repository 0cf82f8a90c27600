"""Generated pictures that show no object: a cheap stand-in for "none of the classes"."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from odevision.data.image_set import ImageSet
from odevision.data.preprocessing import Preprocessing


def texture_set(preprocessing: Preprocessing, *, num: int = 1_000, seed: int = 0) -> ImageSet:
    """Generate pictures without an object: patterns and noise in random colors.

    The kinds take turns, so any `num` has all of them about equally often.

    Args:
        preprocessing: states size and channels.
        num: how many.
        seed: selects them; equal seeds give equal pictures on every machine up to rounding.

    Returns:
        A set named `textures`, split "test", whose label is the kind of the texture.

    Raises:
        ValueError: If `num` is below 1.
    """
    if num < 1:
        raise ValueError(f"`num` must be at least 1, got {num}.")
    generator = torch.Generator().manual_seed(seed)
    channels, size = preprocessing.num_channels, preprocessing.image_size
    names = (*TEXTURES, "noise")
    labels = torch.arange(num) % len(names)
    images = torch.empty(num, channels, size, size, dtype=torch.uint8)
    for index, name in enumerate(names):
        chosen = (labels == index).nonzero().flatten()
        if not len(chosen):
            continue
        shape = (len(chosen), channels, size, size)
        if name == "noise":
            images[chosen] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
            continue
        tones = TEXTURES[name](len(chosen), size, generator)[:, None]
        colors = 255 * torch.rand(2, *shape[:2], 1, 1, generator=generator)
        images[chosen] = (colors[0] + (colors[1] - colors[0]) * tones).round().to(torch.uint8)
    return ImageSet(images=images, labels=labels, class_names=names, name="textures", split="test")


def _uniform(num: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(num, 1, 1, generator=generator)


def _coordinates(size: int) -> tuple[Tensor, Tensor]:
    line = (torch.arange(size) + 0.5) / size
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return rows, columns


def _waves(num: int, size: int, generator: torch.Generator) -> Float[Tensor, "num size size"]:
    """Sines of 1 to size / 4 periods in any direction, -1 to 1."""
    rows, columns = _coordinates(size)
    angle = _uniform(num, 0.0, math.pi, generator)
    periods = _uniform(num, 1.0, max(2.0, size / 4), generator)
    phase = _uniform(num, 0.0, 2 * math.pi, generator)
    along = rows * torch.sin(angle) + columns * torch.cos(angle)
    return torch.sin(2 * math.pi * periods * along + phase)


def _gratings(num: int, size: int, generator: torch.Generator) -> Float[Tensor, "num size size"]:
    return 0.5 + 0.5 * _waves(num, size, generator)


def _stripes(num: int, size: int, generator: torch.Generator) -> Float[Tensor, "num size size"]:
    return (_waves(num, size, generator) > 0).float()


def _checkers(num: int, size: int, generator: torch.Generator) -> Float[Tensor, "num size size"]:
    rows, columns = _coordinates(size)
    cells = _uniform(num, 2.0, max(3.0, size / 4), generator)
    shift = _uniform(num, 0.0, 1.0, generator)
    parity = torch.floor(rows * cells + shift) + torch.floor(columns * cells + shift)
    return parity % 2


def _blobs(num: int, size: int, generator: torch.Generator) -> Float[Tensor, "num size size"]:
    """Noise of a coarse grid, interpolated: soft spots of a quarter to half of the picture."""
    coarse = torch.rand(num, 1, 5, 5, generator=generator)
    smooth = functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return smooth[:, 0].clamp(0, 1)


def _patches(num: int, size: int, generator: torch.Generator) -> Float[Tensor, "num size size"]:
    """A mosaic of single-tone cells with hard edges, about a sixth of the picture each."""
    coarse = torch.rand(num, 1, 6, 6, generator=generator)
    return functional.interpolate(coarse, (size, size), mode="nearest")[:, 0]


def _gradients(num: int, size: int, generator: torch.Generator) -> Float[Tensor, "num size size"]:
    rows, columns = _coordinates(size)
    angle = _uniform(num, 0.0, 2 * math.pi, generator)
    along = (rows - 0.5) * torch.sin(angle) + (columns - 0.5) * torch.cos(angle)
    return (0.5 + along / math.sqrt(2)).clamp(0, 1)


def _pink(num: int, size: int, generator: torch.Generator) -> Float[Tensor, "num size size"]:
    """Noise whose spectrum falls like that of photos (amplitude 1 / frequency)."""
    spectrum = torch.fft.rfft2(torch.randn(num, size, size, generator=generator))
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    field = torch.fft.irfft2(spectrum / frequency.clamp_min(1 / size), s=(size, size))
    return (0.5 + field / (5 * field.std(dim=(1, 2), keepdim=True))).clamp(0, 1)


TEXTURES: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "gratings": _gratings,
    "stripes": _stripes,
    "checkers": _checkers,
    "blobs": _blobs,
    "patches": _patches,
    "gradients": _gradients,
    "pink": _pink,
}
"""Kind -> (num, size, generator) -> tone 0 to 1 at each pixel, mixed between two random colors.
Uniform noise, each pixel and channel on its own, comes in addition."""
