"""Clock: carries the gradients of t0 and t1 into a solve whose times are numbers on the host."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from odevision.types import Scalar


@dataclasses.dataclass(frozen=True)
class Clock:
    """The time T(t) = t, as a function of the ends of the solve.

    A solve with fixed fractions of [t0, t1] as its steps solves dy/ds = (t1 - t0) f(T(s), y). So
    T moves with both ends, and f counts dT/dt = 1 times. Both have these values and, in addition,
    the right derivatives: gradients of t0 and t1 are those of the numbers that were computed.

    Attributes:
        t0, t1: the ends, in ODE time.
        ends: tensors for t0 and t1, of which at least one requires a gradient; a number or None
            where an end is fixed.
    """

    t0: float
    t1: float
    ends: tuple[Tensor | None, Tensor | None]

    def time(self, t: float | Scalar, like: Tensor) -> Scalar:
        """T(t), of the real dtype and on the device of `like`."""
        shift0, shift1 = self._shifts(like)
        share = (t - self.t0) / (self.t1 - self.t0)
        if not isinstance(t, Tensor):
            t = torch.full((), t, dtype=like.dtype.to_real(), device=like.device)
        return t + (shift0 * (1 - share) + shift1 * share)

    def rate(self, like: Tensor) -> Scalar:
        """dT/dt."""
        shift0, shift1 = self._shifts(like)
        return 1 + (shift1 - shift0) / (self.t1 - self.t0)

    def _shifts(self, like: Tensor) -> tuple[Any, Any]:
        """Zeros that carry the gradients of the ends."""
        dtype = like.dtype.to_real()
        return tuple(
            0.0 if end is None else (end - end.detach()).reshape(()).to(like.device, dtype)
            for end in self.ends
        )  # type: ignore[return-value]
