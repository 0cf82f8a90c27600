"""Events of samples that each have a clock of their own: all roots of a step are found together."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from odevision.ode.clock import RowClock
from odevision.ode.event import AT_ZERO, Event
from odevision.types import State

Evaluate = Callable[[Event, Tensor, Tensor, Tensor], Tensor]
"""An event's function on a column of times, states and the samples that they belong to."""

# Two evaluations halve a bracket at least: 60 of these pairs take any bracket to rounding. Roots of
# smooth functions take about five, so a look at the device every four pays.
_PAIRS, _LOOK = 60, 4


class RowEventWatch:
    """Looks for the roots of several events in the steps of all rows.

    Args:
        events: what to look for.
        evaluate: calls an event's function; gives one number a row.
    """

    def __init__(self, events: Sequence[Event], evaluate: Evaluate) -> None:
        """Nothing is evaluated yet."""
        self.events, self._evaluate = tuple(events), evaluate

    def signs(self, t: Tensor, y: State, samples: Int64[Tensor, " rows"]) -> Tensor:
        """Sign of each event in each row, shape (rows, events); NaN where the event is NaN."""
        values = torch.stack([self._evaluate(event, t, y, samples) for event in self.events], 1)
        return torch.where(torch.isnan(values), values, torch.sign(values))

    def crossings(self, old: Tensor, new: Tensor) -> tuple[Bool[Tensor, "rows events"], Tensor]:
        """Where the signs tell of a root, and the signs for the next step to compare with.

        A zero at the start is no crossing; a step that ends on a root has crossed it, and has not
        again where the number stays zero or turns back.
        """
        new = torch.where(torch.isnan(new), old, new)
        crossed = (old.abs() == 1) & (new != old)
        after = torch.where(new != 0, new, torch.where(crossed, AT_ZERO * old, old))
        for i, event in enumerate(self.events):
            if event.direction:
                crossed[:, i] &= old[:, i] == -event.direction
        return crossed, after

    def terminal(self, crossed: Bool[Tensor, "rows events"]) -> Bool[Tensor, " rows"]:
        """The rows that end in this step."""
        found = torch.zeros_like(crossed[:, 0])
        for event, mine in zip(self.events, crossed.unbind(1), strict=True):
            found = found | mine if event.terminal else found
        return found

    def roots(
        self,
        i: int,
        old: Float[Tensor, " roots"],
        clock: RowClock,
        inside: Callable[[Tensor], State],
        samples: Int64[Tensor, " roots"],
    ) -> Float[Tensor, " roots"]:
        """Roots of event i, from s = 0 to 1 of the steps that they lie in.

        Bisection and secant in turn, as for a common clock; every fourth round waits for the
        device to see whether all brackets are closed.

        Args:
            i: which event.
            old: its sign at the start of these steps.
            clock: their times.
            inside: from one s a step, shape (roots,), to the states there.
            samples: the samples that they belong to.
        """
        event = self.events[i]
        largest, length = torch.maximum(clock.t0.abs(), clock.t1.abs()), clock.t1 - clock.t0
        precision = torch.finfo(old.dtype).eps * largest.reshape(-1).to(old.dtype)
        width = precision.clamp(min=event.tolerance) / length.abs().reshape(-1).to(old.dtype)
        # The state tells parts of the step apart by its precision.
        tolerance = width.clamp(min=torch.finfo(largest.dtype).eps)

        def at(s: Tensor) -> Tensor:
            t = torch.lerp(clock.t0, clock.t1, s.to(clock.t0.dtype).reshape(clock.t0.shape))
            return self._evaluate(event, t, inside(s), samples).to(old.dtype)

        a, b = torch.zeros_like(old), torch.ones_like(old)
        g_a, g_b = at(a), at(b)
        for pair in range(_PAIRS):
            for s in (_secant, _middle):
                done = b - a <= tolerance
                c = torch.where(done, b, s(a, b, g_a, g_b, tolerance))
                g_c = at(c)
                left = ~done & (torch.sign(g_c) == old)
                right = ~done & ~left
                a, g_a = torch.where(left, c, a), torch.where(left, g_c, g_a)
                b, g_b = torch.where(right, c, b), torch.where(right, g_c, g_b)
            if pair % _LOOK == _LOOK - 1 and bool((b - a <= tolerance).all()):
                break
        return b


def _secant(a: Tensor, b: Tensor, g_a: Tensor, g_b: Tensor, tolerance: Tensor) -> Tensor:
    """The secant's root, a little past it, so that the bracket closes from both sides."""
    s = b - g_b * (b - a) / (g_b - g_a)
    s = s + torch.where(s - a < b - s, 0.5 * tolerance, -0.5 * tolerance)
    return torch.where((a < s) & (s < b), s, _middle(a, b, g_a, g_b, tolerance))


def _middle(a: Tensor, b: Tensor, g_a: Tensor, g_b: Tensor, tolerance: Tensor) -> Tensor:
    del g_a, g_b, tolerance
    return 0.5 * (a + b)
