"""Dense output: the state anywhere inside an accepted step."""

import bisect
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from odevision.ode.clock import Clock
from odevision.ode.state import StateLayout
from odevision.ode.tracing import mapped, tracked
from odevision.types import Number, Scalar, State


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

    def at(self, t: float, motion: Scalar) -> State:
        """The same at a time that derivatives may be asked of.

        Args:
            t: the time, which is far more precise than the state's dtype may be.
            motion: a zero that carries its derivatives.
        """
        dt = self.t1 - self.t0
        theta = (t - self.t0) / dt + motion / dt
        y = self.y0 + (self.y1 - self.y0) * (theta * theta * (3 - 2 * theta))
        y = y + self.f0 * (dt * theta * (1 - theta) ** 2)
        y = y + self.f1 * (dt * theta * theta * (theta - 1))
        if self.bump is not None:
            y = y + self.bump * (dt * (theta * (1 - theta)) ** 2)
        return y


class DenseOutput:
    """The solution between t0 and the time reached, as a function of time.

    Args:
        pieces: the interpolants of all accepted steps, in order; none where no step was made.
        t0: start of the solve.
        t1: the time reached, which an event may have set inside the last piece.
        y0: state at t0, packed.
        layout: how a nested state is packed; None where it is one tensor.
        clock: where gradients to t0 or t1 are asked for: the pieces move with them.
    """

    def __init__(
        self,
        pieces: Sequence[Interpolant],
        t0: float,
        t1: float,
        y0: State,
        layout: StateLayout | None,
        clock: Clock | None = None,
    ) -> None:
        """Keep the pieces."""
        self._pieces, self._y0, self._layout = list(pieces), y0, layout
        self.t0, self.t1, self._clock = t0, t1, clock
        self._sign = 1 if self.t1 >= self.t0 else -1
        self._ends = [self._sign * piece.t1 for piece in self._pieces]

    def __call__(self, t: Number | Tensor) -> Any:
        """The state at time t, or states of shape (times, *y0.shape) at a vector of times.

        Gradients reach t where it is a tensor.

        Raises:
            ValueError: a time lies outside of the solve, or is mapped over.
        """
        if mapped(t):
            raise ValueError(
                "`t` must not be mapped over by torch.func.vmap. Try the vector of all times."
            )
        if isinstance(t, Tensor) and t.ndim:
            states = [self(x) for x in (t if tracked(t) else t.tolist())]
            return pytree.tree_map(lambda *parts: torch.stack(parts), states[0], *states[1:])
        moving, t = t, float(t.detach() if isinstance(t, Tensor) else t)
        # A time of the state's precision may round past the end.
        rounding = 2 * torch.finfo(self._y0.dtype).eps * max(abs(self.t0), abs(self.t1))
        slack = max(1e-6 * abs(self.t1 - self.t0), rounding)
        if not min(self.t0, self.t1) - slack <= t <= max(self.t0, self.t1) + slack:
            raise ValueError(f"`t` must lie between {self.t0} and {self.t1}, got {t}.")
        if not self._pieces:
            return self._unpack(self._y0.clone())
        i = min(bisect.bisect_left(self._ends, self._sign * t), len(self._pieces) - 1)
        piece, motion = self._pieces[i], self._motion(moving, t)
        y = piece(t) if motion is None else piece.at(t, motion)
        # What is handed out may be changed in place.
        return self._unpack(y.clone() if y is piece.y0 or y is piece.y1 else y)

    def _motion(self, moving: Number | Tensor, t: float) -> Scalar | None:
        """How t moves among the pieces, as a zero; None where it moves with nothing."""
        follows = isinstance(moving, Tensor) and tracked(moving)
        at_end = t in (self.t0, self.t1)  # which a number there means to stay
        if not follows and (self._clock is None or at_end):
            return None
        like = self._y0.real
        motion = torch.zeros((), dtype=like.dtype, device=like.device)
        if isinstance(moving, Tensor):
            motion = (moving - moving.detach()).to(motion)
        if self._clock is not None:
            motion = motion - self._clock.motion(t, self._y0)
        return motion

    def _unpack(self, y: State) -> Any:
        return y if self._layout is None else self._layout.unpack(y)
