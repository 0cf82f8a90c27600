"""Route: where steps have to end - at t1, on a grid, on kinks and jumps of f, on saved times."""

import math
import sys
from collections.abc import Sequence

import torch

from odevision.ode.controller import Controller, PIDController


class Route:
    """The way from t0 to t1 as the loop walks it.

    Args:
        controller: its grid, step points and jump points are honored.
        t0: start time.
        t1: end time.
        save_times: times to save, in the order of integration.
        save_slack: a time to save that lies this close to a grid point or kink is meant as it: it
            was rounded, as in a float32 linspace.
        land_on_saves: also end a step at each of them.
        dtype: real dtype of the times that f receives.
    """

    def __init__(
        self,
        controller: Controller,
        t0: float,
        t1: float,
        save_times: Sequence[float],
        *,
        save_slack: float,
        land_on_saves: bool,
        dtype: torch.dtype,
    ) -> None:
        """Sort the points along the way."""
        self.t1, self._sign, self._dtype = t1, math.copysign(1.0, t1 - t0), dtype
        self._jumps = frozenset(controller.jump_points)
        points = map(float, (*controller.step_points, *self._jumps))
        ahead = {t for t in points if self._between(t0, t, t1)}
        if not isinstance(controller, PIDController):
            ahead.update(controller.grid(t0, t1))
        targets = sorted(ahead | {t1}, key=self._along)
        self._saves, self._next_save = self._snap(save_times, targets, save_slack), 0
        if land_on_saves:
            targets = sorted({*targets, *self._saves}, key=self._along)
        self._targets = targets
        self._reached = 0
        # Shortest step that still moves the clock: a few units in the last place of its times.
        self._tick = 4 * sys.float_info.epsilon * max(abs(t0), abs(t1))

    def _along(self, t: float) -> float:
        return self._sign * t

    def _between(self, a: float, t: float, b: float) -> bool:
        return self._along(a) < self._along(t) < self._along(b)

    def _snap(self, times: Sequence[float], targets: Sequence[float], slack: float) -> list[float]:
        i, snapped = 0, []
        for t in times:  # both are ordered: one walk finds all neighbors
            while i + 1 < len(targets) and abs(targets[i + 1] - t) < abs(targets[i] - t):
                i += 1
            snapped.append(targets[i] if abs(targets[i] - t) <= slack else t)
        return snapped

    def next(self, t: float, dt: float) -> float:
        """End of the step from t; the next target where it is at most 1 % farther than dt."""
        while self._sign * (self._targets[self._reached] - t) <= 0:
            self._reached += 1
        target = self._targets[self._reached]
        length = max(abs(dt), self.shortest(t))
        if abs(target - t) <= 1.01 * length:
            return target
        return t + self._sign * length

    def land(self, t: float, *, put_back: int) -> None:
        """End the step that was just tried at t instead, and take its last saves back."""
        self._targets.insert(self._reached, t)
        self._next_save -= put_back

    def shortest(self, t: float) -> float:
        """No step from t may be shorter."""
        return min(self._tick, abs(self.t1 - t))

    def take_saves(self, t: float) -> tuple[float, ...]:
        """The times to save up to t, each once."""
        first = self._next_save
        while self._next_save < len(self._saves) and (
            self._sign * (t - self._saves[self._next_save]) >= 0
        ):
            self._next_save += 1
        return tuple(self._saves[first : self._next_save])

    def resume(self, planned: float, taken: float, proposed: float) -> float:
        """Next step size: one shortened only to land says little about what is possible."""
        if abs(taken) < 0.99 * abs(planned):
            return math.copysign(max(abs(planned), abs(proposed)), proposed)
        return proposed

    def is_jump(self, t: float) -> bool:
        """Whether f jumps at t."""
        return t in self._jumps

    def smooth_until(self) -> float:
        """How far f may be evaluated before the first step is made: to a jump, or to t1."""
        jump = next((t for t in self._targets if t in self._jumps), self.t1)
        return self.before(jump)

    def before(self, t: float) -> float:
        """The time at which f is evaluated at the end of a step that ends at t."""
        return self._beside(t, -self._sign) if t in self._jumps else t

    def after(self, t: float) -> float:
        """The time at which f is evaluated at the start of a step that starts at t."""
        return self._beside(t, self._sign) if t in self._jumps else t

    def _beside(self, t: float, sign: float) -> float:
        """The next time in the precision that f receives."""
        info = torch.finfo(self._dtype)
        return t + sign * max(info.eps * abs(t), info.tiny)
