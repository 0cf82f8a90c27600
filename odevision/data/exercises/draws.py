"""Random numbers, and random curves over time, of which each clip draws its own."""

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Curve = Float[Tensor, " frames"]
"""A number for each frame."""

Number = int | float

Option = TypeVar("Option")


class Draws:
    """Random numbers from one seed.

    Args:
        seed: of all that is drawn.
    """

    def __init__(self, seed: int) -> None:
        """Start."""
        self._generator = torch.Generator().manual_seed(seed)

    def between(self, low: Number, high: Number) -> float:
        """A number, uniform between two others."""
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def chance(self, probability: Number) -> bool:
        """True with this probability."""
        return self.between(0, 1) < probability

    def one_of(self, options: Sequence[Option]) -> Option:
        """One of several, all alike likely."""
        return options[int(self.between(0, len(options)))]

    def uniform(self, *size: int) -> Tensor:
        """Numbers between 0 and 1."""
        return torch.rand(size, generator=self._generator)

    def normal(self, *size: int) -> Tensor:
        """Numbers with mean 0 and standard deviation 1."""
        return torch.randn(size, generator=self._generator)

    def drift(
        self, seconds: Curve, slowest: Number = 0.1, fastest: Number = 0.6, *, waves: int = 3
    ) -> Curve:
        """A curve that wanders between -1 and 1.

        Args:
            seconds: times of the frames.
            slowest: waves a second, of the sines that it is the mean of.
            fastest: likewise.
            waves: how many sines.
        """
        curve = torch.zeros_like(seconds)
        for _ in range(waves):
            size, phase = self.between(0.3, 1), self.between(0, 2 * math.pi)
            rate = 2 * math.pi * self.between(slowest, fastest)
            curve = curve + size * torch.sin(rate * seconds + phase)
        return curve / waves

    def repetitions(
        self, seconds: Curve, rate: float, *, pause: float = 0.0
    ) -> tuple[Curve, Curve]:
        """How far someone is in an exercise done over and over: 0 at rest, 1 at the far end.

        Args:
            seconds: times of the frames.
            rate: repetitions a second, about.
            pause: share of the time at rest.

        Returns:
            The way, and the number of the repetition, which counts from anywhere.
        """
        progress = rate * seconds + self.between(0, 1) + 0.1 * self.drift(seconds, 0.05, 0.3)
        number = progress.floor()
        part = ((progress - number - pause) / (1 - pause)).clamp(0, 1)
        stay = self.between(1, 1.25)  # at the far end
        way = (stay * (1 - torch.cos(2 * math.pi * part)) / 2).clamp(max=1)
        return (ease(way) if self.chance(0.3) else way), number


def ease(way: Curve) -> Curve:
    """From 0 to 1, slow at both ends; beyond them it stays."""
    way = way.clamp(0, 1)
    return way * way * (3 - 2 * way)
