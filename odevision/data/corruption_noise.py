"""Noise of sensors and wires: three of the usual corruptions, batch-wise.

The strengths are those of CIFAR-10-C (Hendrycks and Dietterich 2019, arXiv 1903.12261, and the
program that made its images), here and in the files beside this one.
"""

import torch
from jaxtyping import Float

from odevision.types import Images

GAUSSIAN_SIGMAS = (0.04, 0.06, 0.08, 0.09, 0.10)
SHOT_PHOTONS = (500.0, 250.0, 100.0, 75.0, 50.0)
IMPULSE_SHARES = (0.01, 0.02, 0.03, 0.05, 0.07)


def gaussian_noise(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Add normal noise, of its own in each channel: dim light.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: source of all randomness, on the CPU.

    Returns:
        New images, which may leave the range from 0 to 1.
    """
    noise = torch.randn(images.shape, generator=generator)
    return images + GAUSSIAN_SIGMAS[severity - 1] * noise


def shot_noise(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Count photons (Poisson noise): few of them make bright pixels noisier than dark ones.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: source of all randomness, on the CPU.

    Returns:
        New images, which may exceed 1.
    """
    photons = SHOT_PHOTONS[severity - 1]
    return torch.poisson(images * photons, generator=generator) / photons


def impulse_noise(images: Images, severity: int, generator: torch.Generator) -> Images:
    """Set single values to black or white (salt and pepper): bit errors.

    Args:
        images: 0 to 1.
        severity: 1 to 5.
        generator: source of all randomness, on the CPU.

    Returns:
        New images, 0 to 1.
    """
    share = IMPULSE_SHARES[severity - 1]
    drawn: Float[torch.Tensor, ...] = torch.rand(images.shape, generator=generator)
    # One draw decides whether a value is hit and, in the lower and upper half of that share, how.
    return torch.where(drawn < share, (drawn < share / 2).to(images.dtype), images)
