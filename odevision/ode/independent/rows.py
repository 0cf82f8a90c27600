"""Rows: the samples that still run, and where each of them stands."""

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from odevision.ode.controller import ConstantController, PIDController
from odevision.ode.independent.event import RowEventWatch
from odevision.ode.independent.step import RowTimes, Samples
from odevision.ode.solver import AbstractSolver


@dataclasses.dataclass(frozen=True)
class Rows:
    """The samples that still run, one row each.

    Times are signed, t where time runs forward and -t where it runs backward: they grow on every
    row's way.

    Attributes:
        sample: which samples they are, ascending.
        y: their states.
        f0: their slopes, in ODE time.
        t: signed time reached, shape (rows,) like all below where no other is stated.
        t1: signed end.
        sign: of t1 - t0; None where time runs forward for all.
        dt: length of the next step, positive.
        cap: most that the next step may make the one after it grow.
        shortest: length of a step that barely moves the clock.
        extra_nfe: evaluations so far beside those that every row took part in.
        num_accepted: accepted steps so far.
        dt_first: length of the first of them.
        history: see `control.Verdict`.
        targets: signed times to land on, ascending, shape (rows, targets); None for t1 alone.
        landing: signed time of a root to land on, infinite where none is known; None where roots
            are read off the interpolant.
        saves: signed times to save, ascending, shape (rows, times), infinite where there is none;
            None where none are asked for.
        next_save: how many of them are passed.
        signs: of the events, shape (rows, events).
    """

    sample: Samples
    y: Tensor
    f0: Tensor
    t: Float[Tensor, " rows"]
    t1: Float[Tensor, " rows"]
    dt: Float[Tensor, " rows"]
    cap: Float[Tensor, " rows"]
    shortest: Float[Tensor, " rows"]
    extra_nfe: Int64[Tensor, " rows"]
    num_accepted: Int64[Tensor, " rows"]
    dt_first: Float[Tensor, " rows"]
    sign: Float[Tensor, " rows"] | None = None
    history: Tensor | None = None
    targets: Tensor | None = None
    landing: Tensor | None = None
    saves: Tensor | None = None
    next_save: Tensor | None = None
    signs: Tensor | None = None

    def __len__(self) -> int:
        """How many."""
        return len(self.sample)

    def select(self, index: Int64[Tensor, " chosen"]) -> "Rows":
        """Some of the rows."""
        parts: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            part = getattr(self, field.name)
            parts[field.name] = None if part is None else part.index_select(0, index)
        return Rows(**parts)

    def in_ode_time(self, t: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Times without the sign that makes them grow."""
        return t if self.sign is None else self.sign * t

    def next_times(self) -> Float[Tensor, " rows"]:
        """Signed ends of the next steps: the next target where it is at most 1 % beyond dt."""
        target = self.t1
        if self.targets is not None:
            place = torch.searchsorted(self.targets, self.t[:, None], right=True)
            target = self.targets.gather(1, place)[:, 0]
        if self.landing is not None:
            ahead = torch.where(self.landing > self.t, self.landing, torch.inf)
            target = torch.minimum(target, ahead)
        ahead = target - self.t
        length = torch.maximum(self.dt, torch.minimum(self.shortest, self.t1 - self.t))
        return torch.where(ahead <= 1.01 * length, target, self.t + length)

    def smooth_until(self, jumps: Float[Tensor, " jumps"] | None) -> Float[Tensor, " rows"]:
        """Signed times of the first jumps of f ahead, or the ends."""
        if jumps is None:
            return self.t1
        signed = jumps if self.sign is None else self.sign[:, None] * jumps
        ahead = (signed > self.t[:, None]) & (signed < self.t1[:, None])
        return torch.where(ahead, signed, self.t1[:, None]).amin(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowsWanted:
    """What a solve hands out beside its end.

    Attributes:
        saves: times to save, shape (batch, times), each row in the order of integration, NaN where
            there is none.
        watch: looks for events.
    """

    saves: Float[Tensor, "batch times"] | None = None
    watch: RowEventWatch | None = None


def first_rows(
    sample: Samples,
    y0: Tensor,
    times: RowTimes,
    wanted: RowsWanted,
    controller: ConstantController | PIDController,
    solver: AbstractSolver,
    *,
    forward: bool,
) -> Rows:
    """The rows of these samples at their t0, whose slopes and first steps are not known yet.

    `forward` tells that time runs forward for all of them.
    """
    t0, t1 = times.t0.index_select(0, sample), times.t1.index_select(0, sample)
    sign, y = torch.sign(t1 - t0), y0.index_select(0, sample)
    tick = 4 * torch.finfo(t0.dtype).eps * torch.maximum(t0.abs(), t1.abs())
    t0, t1, zero = sign * t0, sign * t1, torch.zeros_like(sample)
    saves = next_save = history = None
    if wanted.saves is not None:
        saves = wanted.saves.index_select(0, sample) * sign[:, None]
        saves = torch.where(torch.isnan(saves), torch.inf, saves)  # a search would lose its way
        next_save = torch.searchsorted(saves, t0[:, None], right=True)[:, 0]
    lands = solver.lands_on_saves and wanted.watch is not None
    cap = torch.ones_like(t0)
    if isinstance(controller, PIDController):
        cap = torch.full_like(t0, controller.max_factor)
        if controller.proportional or controller.derivative:
            history = t0.new_ones(len(t0), 2)
    points = torch.tensor(
        [*controller.step_points, *controller.jump_points], dtype=t0.dtype, device=t0.device
    )
    targets = sign[:, None] * points
    if saves is not None and solver.lands_on_saves:
        targets = torch.cat([targets, saves], 1)
    ahead = (targets > t0[:, None]) & (targets < t1[:, None])
    targets = torch.cat([torch.where(ahead, targets, t1[:, None]), t1[:, None]], 1)
    return Rows(
        sample=sample,
        y=y,
        f0=y,
        t=t0,
        t1=t1,
        sign=None if forward else sign,
        dt=t1 - t0,
        cap=cap,
        shortest=tick,
        extra_nfe=zero,
        num_accepted=zero,
        dt_first=torch.full_like(t0, torch.nan),
        history=history,
        landing=torch.full_like(t0, torch.inf) if lands else None,
        targets=targets.sort(1).values if targets.shape[1] > 1 else None,
        saves=saves,
        next_save=next_save,
    )


def chosen(mask: Bool[Tensor, " rows"], count: int) -> Int64[Tensor, " chosen"]:
    """Where a mask of known count is true, without a wait for the device."""
    if mask.device.type == "cpu":
        return mask.nonzero()[:, 0]
    return torch.argsort(mask, descending=True, stable=True)[:count]


def finite_rows(x: Tensor) -> Bool[Tensor, " rows"]:
    """The rows without NaN and infinity."""
    return torch.isfinite(x).reshape(len(x), -1).all(1)
