"""Dense output: the state anywhere inside an accepted step."""

import bisect
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from odevision.types import Number, State


@dataclasses.dataclass(frozen=True)
class Interpolant:
    """The polynomial of one step.

    With theta = (t - t0) / dt it is the cubic that meets y and f at both ends, plus
    theta^2 (1 - theta)^2 dt bump where the method has such a term (order 4 then, else 3).
    See Hairer, Norsett, Wanner: Solving ODEs I, section II.6.

    Attributes:
        t0, t1: the ends of the step, in ODE time.
        y0, y1: the states there.
        f0, f1: the slopes there.
        bump: sum_i d_i k_i of the method's dense weights, of the state's shape.
    """

    t0: float
    t1: float
    y0: State
    y1: State
    f0: State
    f1: State
    bump: State | None = None

    def __call__(self, t: float) -> State:
        """State at time t inside the step; exactly y0 and y1 at the ends."""
        dt = self.t1 - self.t0
        theta = (t - self.t0) / dt
        # A step that ends at a jump of f stops one rounding short of it.
        if theta <= 0:
            return self.y0
        if theta >= 1:
            return self.y1
        y = torch.lerp(self.y0, self.y1, theta * theta * (3 - 2 * theta))
        y = torch.add(y, self.f0, alpha=dt * theta * (1 - theta) ** 2)
        y = torch.add(y, self.f1, alpha=dt * theta * theta * (theta - 1))
        if self.bump is not None:
            y = torch.add(y, self.bump, alpha=dt * (theta * (1 - theta)) ** 2)
        return y


class DenseOutput:
    """The solution between t0 and the time reached, as a function of time.

    Args:
        pieces: the interpolants of all accepted steps, in order.
        unpack: from a packed state to the user's.
    """

    def __init__(self, pieces: Sequence[Interpolant], unpack: Callable[[State], Any]) -> None:
        """Keep the pieces."""
        self._pieces, self._unpack = list(pieces), unpack
        self.t0, self.t1 = self._pieces[0].t0, self._pieces[-1].t1
        self._sign = 1 if self.t1 >= self.t0 else -1
        self._ends = [self._sign * piece.t1 for piece in self._pieces]

    def __call__(self, t: Number | Tensor) -> Any:
        """The state at time t, or states of shape (times, *y0.shape) at a vector of times.

        Raises:
            ValueError: a time lies outside of the solve.
        """
        if isinstance(t, Tensor) and t.ndim:
            states = [self(x) for x in t.tolist()]
            return pytree.tree_map(lambda *parts: torch.stack(parts), states[0], *states[1:])
        t = float(t)
        slack = 1e-6 * abs(self.t1 - self.t0)  # a float32 time may round past the end
        if not min(self.t0, self.t1) - slack <= t <= max(self.t0, self.t1) + slack:
            raise ValueError(f"`t` must lie between {self.t0} and {self.t1}, got {t}.")
        i = min(bisect.bisect_left(self._ends, self._sign * t), len(self._pieces) - 1)
        return self._unpack(self._pieces[i](t))
