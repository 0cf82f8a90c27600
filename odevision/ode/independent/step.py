"""One step of many rows: the field on some of the samples, the step, and the states inside it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils import _pytree as pytree

from odevision.ode.clock import RowClock, column, spread
from odevision.ode.per_sample import select_samples
from odevision.ode.solution import Stats
from odevision.ode.solver import AbstractSolver, Memory, Step
from odevision.ode.state import StateLayout
from odevision.ode.term import ODETerm, bind_args, takes_args_whole
from odevision.types import State, VectorField

Samples = Int64[Tensor, " rows"]
"""Which samples of the batch the rows are."""


class SampleField:
    """The user's f on any of the samples, as a function of packed states.

    Args:
        vector_field: the user's callable.
        args: the user's arguments to it, `PerSample` ones marked.
        layout: how a nested state is packed; None where the state is one tensor.
        batch: number of samples.

    Attributes:
        call: f(t, y, arguments of the samples in y).
    """

    def __init__(
        self, vector_field: VectorField, args: Any, layout: StateLayout | None, batch: int
    ) -> None:
        """Nothing is evaluated yet."""
        bind_args(vector_field, ())  # which refuses what cannot be called
        self._args, self._batch = args, batch
        whole = not isinstance(select_samples(args, None), tuple) or takes_args_whole(vector_field)
        view = user_view(layout)

        def call(t: Tensor, y: Tensor, args: Any) -> Any:
            t, y = view(t, y)
            k = vector_field(t, y, args) if whole else vector_field(t, y, *args)
            return k if layout is None else layout.pack(k)

        self.call: Callable[[Tensor, Tensor, Any], Any] = call

    def on(self, samples: Samples | None) -> Callable[[Tensor, Tensor], Any]:
        """The field f(t, y) on these samples, or on all of them, in order."""
        args = select_samples(self._args, samples)

        def f(t: Tensor, y: Tensor) -> Any:
            try:
                return self.call(t, y, args)
            except (RuntimeError, ValueError, IndexError) as error:
                if samples is not None:
                    error.add_note(
                        "Under batch='independent' the vector field receives the samples that "
                        f"still run, here {len(samples)} of {self._batch}. Arguments with one "
                        "entry a sample must be given as args=odevision.PerSample(...)."
                    )
                raise

        return f


def user_view(layout: StateLayout | None) -> Callable[[Tensor, State], tuple[Any, Any]]:
    """From a column of times and a packed state to t and y as the user's functions receive them.

    Nested states get a t that broadcasts against all leaves, or, where these are of several ranks
    and no shape does, one for each leaf, nested like y.
    """
    if layout is None:
        return lambda t, y: (t, y)
    ones = [[1] * (len(shape) - 1) for shape in layout.shapes]
    if all(one == ones[0] for one in ones):
        return lambda t, y: (t.reshape(-1, *ones[0]), layout.unpack(y))
    nested = lambda t: pytree.tree_unflatten([t.reshape(-1, *one) for one in ones], layout.spec)
    return lambda t, y: (nested(t), layout.unpack(y))


@dataclasses.dataclass(frozen=True)
class Moments:
    """Times inside a step at which states are handed out: save times, then roots of each event.

    Attributes:
        row: the row of each, shape (moments,).
        s: where in the step, 0 to 1.
        sample: the sample.
        t: the time.
        slot: for save times their place in `save_at`, else 0.
        counts: how many of them are save times, and roots of each event.
        at_end: all lie at the end of the step.
    """

    row: Int64[Tensor, " moments"]
    s: Float[Tensor, " moments"]
    sample: Int64[Tensor, " moments"]
    t: Float[Tensor, " moments"]
    slot: Int64[Tensor, " moments"]
    counts: tuple[int, ...]
    at_end: bool


@dataclasses.dataclass(frozen=True)
class RowStep:
    """All that is needed to make the accepted rows of an attempted step again from their states.

    Attributes:
        samples: which samples they are.
        some: they are not all of the batch.
        t0, t1: the ends of each row's step, in ODE time and the precision of the clock.
        memory: what the solver began with.
        moments: states that it hands out; None for none.
    """

    samples: Samples
    some: bool
    t0: Float[Tensor, " rows"]
    t1: Float[Tensor, " rows"]
    memory: Memory
    moments: Moments | None


@dataclasses.dataclass(frozen=True)
class RowTimes:
    """From times of the clock to those that f receives.

    Attributes:
        t0, t1: the ends of each sample's solve, shape (batch,).
        jumps: times where f jumps, in no order; None for none. f is evaluated a rounding before and
            after them.
        ends: tensors for t0 and t1 where their gradients are asked for, of shape () or (batch,).
    """

    t0: Float[Tensor, " batch"]
    t1: Float[Tensor, " batch"]
    jumps: Float[Tensor, " jumps"] | None = None
    ends: tuple[Tensor | None, Tensor | None] = (None, None)

    def moved(self, t: Float[Tensor, " times"], samples: Samples) -> Float[Tensor, " times"]:
        """The same times, with the gradients of the ends: each keeps its share of the way.

        Jumps stay where they are: t0 moves the times up to a sample's first one only, t1 those
        behind its last.
        """
        if self.ends == (None, None):
            return t
        start, end, first, last = (
            times.index_select(0, samples) for times in (self.t0, self.t1, *self._fixed())
        )
        share0 = torch.where(start == end, 0.0, (first - t) / (first - start)).clamp(0, 1)
        share1 = torch.where(start == end, 1.0, (t - last) / (end - last)).clamp(0, 1)
        for x, part in zip(self.ends, (share0, share1), strict=True):
            if x is not None:
                shift = (x - x.detach()).to(t).expand(len(self.t0)).index_select(0, samples)
                t = t + part * shift
        return t

    def _fixed(self) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Each sample's first and last jump on its way; t1 and t0 where there is none."""
        if self.jumps is None:
            return self.t1, self.t0
        low, high = (
            torch.minimum(self.t0, self.t1)[:, None],
            torch.maximum(self.t0, self.t1)[:, None],
        )
        inside = (self.jumps > low) & (self.jumps < high)
        least = torch.where(inside, self.jumps, torch.inf).amin(dim=1)
        most = torch.where(inside, self.jumps, -torch.inf).amax(dim=1)
        is_forward, has_one = self.t1 >= self.t0, inside.any(dim=1)
        first = torch.where(has_one, torch.where(is_forward, least, most), self.t1)
        last = torch.where(has_one, torch.where(is_forward, most, least), self.t0)
        return first, last

    def clock(
        self,
        t0: Float[Tensor, " rows"],
        t1: Float[Tensor, " rows"],
        samples: Samples,
        like: State,
    ) -> RowClock:
        """The clock of one step from t0 to t1 for a state `like` this."""
        start, end = self.moved(t0, samples), self.moved(t1, samples)
        dt = spread(column(end - start, like), like)
        start, end = column(start, like), column(end, like)
        if self.jumps is not None:
            start = start + self._nudge(t0, start.detach(), end.detach())
            end = end + self._nudge(t1, end.detach(), start.detach())
        return RowClock(start, end, dt)

    def at_jump(self, t: Float[Tensor, " rows"]) -> Tensor:
        """Whether f jumps at these times."""
        assert self.jumps is not None
        return torch.isin(t, self.jumps)

    def _nudge(self, t: Tensor, here: Tensor, toward: Tensor) -> Tensor:
        rounding = torch.nextafter(here, toward) - here
        return torch.where(self.at_jump(t).reshape(here.shape), rounding, 0)


def refuse_past(solver: AbstractSolver, memory: Memory) -> None:
    """A state carried from step to step has no meaning where each step has its own time.

    Raises:
        ValueError: there is one.
    """
    if memory.states:
        raise ValueError(
            f"`solver` must be a one-step method under batch='independent' with `save_at` or "
            f"`event`, got {solver.name!r}. Try 'rk4', or batch='joint'."
        )


def make_step(
    solver: AbstractSolver,
    field: SampleField,
    times: RowTimes,
    step: RowStep,
    y0: State,
    *,
    stats: Stats,
) -> tuple[State, Tensor | None]:
    """Make an accepted step again.

    Args:
        solver: what made it.
        field: the vector field.
        times: its times.
        step: which step.
        y0: states of its rows at its start.
        stats: where evaluations are counted, one for all rows, as forward ones.

    Returns:
        The states at its end, one a row, and those at its moments, one a moment, if any.
    """
    clock = times.clock(step.t0, step.t1, step.samples, y0)
    term = ODETerm(field.on(step.samples if step.some else None), stats, clock=clock)
    moments = step.moments
    inside = moments is not None and not moments.at_end
    made = solver.step(term, 0.0, 1.0, y0, None, step.memory, all_stages=inside)
    if moments is None:
        return made.y1, None
    if not inside:
        return made.y1, made.y1.index_select(0, moments.row)
    f0 = term(0.0, y0) if made.f0 is None else made.f0
    f1 = term(1.0, made.y1) if made.f1 is None else made.f1
    return made.y1, interpolate(moments.row, moments.s, made, f0, f1, solver.bump(made))


def interpolate(
    row: Int64[Tensor, " moments"],
    s: Float[Tensor, " moments"],
    step: Step,
    f0: State,
    f1: State,
    bump: State | None,
) -> Tensor:
    """States inside a step of unit length, on the polynomial that `Interpolant` describes.

    Args:
        row: the row of each.
        s: where in the step, 0 to 1.
        step: the step of all rows.
        f0: the slopes at its start, dy/ds.
        f1: the slopes at its end.
        bump: the method's term of order 4.

    Returns:
        One state a moment; exactly y0 and y1 at the ends of finite steps.
    """
    at = lambda x: x.index_select(0, row)
    s = column(s, step.y0).to(step.y0.dtype)
    y = torch.lerp(at(step.y0), at(step.y1), s * s * (3 - 2 * s))
    y = y + at(f0) * (s * (1 - s) ** 2) + at(f1) * (s * s * (s - 1))
    return y if bump is None else y + at(bump) * (s * (1 - s)) ** 2
