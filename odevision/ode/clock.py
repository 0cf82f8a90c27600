"""Clocks: the times that f receives, with the gradients of t0 and t1.

Clock is for solves whose times are numbers on the host, RowClock and SpanClock for those with one
time a row.
"""

import dataclasses
import functools
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.types import Scalar

Column = Float[Tensor, "rows ..."]
"""One number a row, shape (rows, 1, ..., 1), so that it broadcasts against a state."""

_SHORT = 8  # entries a row


def clock_dtype(device: torch.device) -> torch.dtype:
    """The most precise dtype that times can have on a device: MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


@dataclasses.dataclass(frozen=True)
class Clock:
    """The time T(t) = t, as a function of the ends of the solve.

    A solve with fixed fractions of [t0, t1] as its steps solves dy/ds = (t1 - t0) f(T(s), y). So
    T moves with both ends, and f counts dT/dt = 1 times. Both have these values and, in addition,
    the right derivatives: gradients of t0 and t1 are those of the numbers that were computed.

    A jump of f stays where it is: t0 moves the times up to the first one only, t1 those behind the
    last.

    Attributes:
        t0, t1: the ends, in ODE time.
        ends: tensors for t0 and t1, of which at least one requires a gradient; a number or None
            where an end is fixed.
        jumps: times where f jumps; those outside of the solve do not count.
    """

    t0: float
    t1: float
    ends: tuple[Tensor | None, Tensor | None]
    jumps: tuple[float, ...] = ()

    def time(self, t: float | Scalar, like: Tensor) -> Scalar:
        """T(t), of the real dtype and on the device of `like`."""
        return self._tensor(t, like) + self.motion(t, like)

    def motion(self, t: float | Scalar, like: Tensor) -> Scalar:
        """A zero that moves as T(t) does."""
        shift0, shift1 = self._shifts(like)
        if self.t0 == self.t1:
            return shift1
        t = self._tensor(t, like)
        first, last = self._fixed
        share0 = ((first - t) / (first - self.t0)).clamp(0, 1)
        share1 = ((t - last) / (self.t1 - last)).clamp(0, 1)
        return shift0 * share0 + shift1 * share1

    def rate(self, t: float | Scalar, like: Tensor) -> Scalar:
        """dT/dt at t, which is never a jump itself."""
        shift0, shift1 = self._shifts(like)
        t, (first, last) = self._tensor(t, like), self._fixed
        sign = math.copysign(1.0, self.t1 - self.t0)
        moved0, moved1 = sign * (first - t) >= 0, sign * (t - last) >= 0
        return 1 + (moved1 * shift1 / (self.t1 - last) - moved0 * shift0 / (first - self.t0))

    def _tensor(self, t: float | Scalar, like: Tensor) -> Scalar:
        if isinstance(t, Tensor):
            return t
        return torch.full((), t, dtype=like.real.dtype, device=like.device)

    @functools.cached_property
    def _fixed(self) -> tuple[float, float]:
        """The first and the last jump on the way; t1 and t0 where there is none."""
        low, high = min(self.t0, self.t1), max(self.t0, self.t1)
        inside = sorted((t for t in self.jumps if low < t < high), reverse=self.t1 < self.t0)
        return (inside[0], inside[-1]) if inside else (self.t1, self.t0)

    def stretch(self, like: Tensor) -> Scalar:
        """A zero that carries the gradient of t1 - t0."""
        shift0, shift1 = self._shifts(like)
        return shift1 - shift0

    def _shifts(self, like: Tensor) -> tuple[Any, Any]:
        """Zeros that carry the gradients of the ends."""
        dtype = like.real.dtype
        return tuple(
            0.0 if end is None else (end - end.detach()).reshape(()).to(like.device, dtype)
            for end in self.ends
        )  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class RowClock:
    """The times T(s) = t0 + s dt of all rows. With them dy/ds = dt f(T(s), y).

    Attributes:
        t0, t1: the ends, in ODE time, of the real dtype that f receives.
        dt: t1 - t0, which is more accurate than the difference of rounded ends; one number a row,
            or the same at every entry of a row.
    """

    t0: Column
    t1: Column
    dt: Column

    def time(self, s: float | Scalar, like: Tensor) -> Column:
        """T(s); exactly t0 and t1 at 0 and 1."""
        del like
        return torch.lerp(self.t0, self.t1, s)

    def rate(self, s: float | Scalar, like: Tensor) -> Column:
        """dT/ds."""
        del s, like
        return self.dt


def column(x: Tensor, like: Tensor) -> Column:
    """One number a row, of the real dtype and rank of a state."""
    return x.to(like.real.dtype).reshape(-1, *[1] * (like.ndim - 1))


def spread(x: Column, like: Tensor) -> Tensor:
    """The same numbers at every entry of a row, where rows are short.

    On a CPU an operation that broadcasts along a short dimension takes ten times as long.
    """
    if like.is_cuda or like.shape[1:].numel() > _SHORT:
        return x
    return x.expand(like.shape).contiguous()


@dataclasses.dataclass(frozen=True)
class SpanClock:
    """The clock of whole solves: s = 0 to 1 takes each row from its t0 to its t1.

    Nothing is computed ahead, so that every step of a repeated solve has a graph of its own.

    Attributes:
        t0, t1: the ends, in ODE time and the precision of the clock; gradients flow to them.
    """

    t0: Float[Tensor, " rows"]
    t1: Float[Tensor, " rows"]

    def time(self, s: float | Scalar, like: Tensor) -> Column:
        """T(s); exactly t0 and t1 at 0 and 1."""
        return torch.lerp(column(self.t0, like), column(self.t1, like), s)

    def rate(self, s: float | Scalar, like: Tensor) -> Column:
        """dT/ds."""
        del s
        return column(self.t1 - self.t0, like)
