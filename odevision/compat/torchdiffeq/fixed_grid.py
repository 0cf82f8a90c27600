"""Fixed steps: torchdiffeq's grids, and its interpolation between their points."""

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from odevision.compat.torchdiffeq.inputs import Inputs
from odevision.compat.torchdiffeq.methods import EXPLICIT
from odevision.compat.torchdiffeq.steppers import stepper
from odevision.ode.clock import Clock
from odevision.ode.controller import GridController
from odevision.ode.solution import Stats
from odevision.ode.tracing import records
from odevision.solve import odesolve
from odevision.types import State


def solve_on_grid(inputs: Inputs) -> tuple[State, Stats]:
    """States at the times, shape (times, *y0.shape), and what they cost.

    Steps end on the grid alone, as in torchdiffeq: a time between two of its points is read off the
    line through the states there, or off the cubic that also meets their slopes.
    """
    interp = check_interp(inputs.options)
    # Times live on the host in float64; gradients to `t` flow through the copy.
    t = inputs.t.to("cpu", torch.float64)
    grid = _grid(inputs, t)
    nodes = grid.tolist()
    places = [_place(nodes, time, _slack(inputs, nodes)) for time in t.tolist()]
    needed = sorted({i for place in places for i in place})
    states, stats = _walk(inputs, grid, nodes, needed)
    moving = grid is not t and records(t)
    if not moving and [(i,) for i in needed] == places:
        return states, stats
    reader = _Reader(inputs, grid, dict(zip(needed, states, strict=True)), stats)
    between = reader.on_cubic if interp == "cubic" else reader.on_line
    ys = []
    for time, place in zip(t, places, strict=True):
        if len(place) == 2:
            ys.append(between(time, *place))
        elif moving and 0 < place[0] < len(nodes) - 1:
            ys.append(reader.near_node(time, *place))
        else:
            ys.append(reader.at[place[0]])
    return torch.stack(ys), stats


def check_interp(options: Mapping[str, Any]) -> str:
    """The option interp.

    Raises:
        ValueError: it is neither linear nor cubic.
    """
    interp = options.get("interp", "linear")
    if interp not in ("linear", "cubic"):
        raise ValueError(f"option `interp` must be 'linear' or 'cubic', got {interp!r}.")
    return interp


def step_size(options: Mapping[str, Any]) -> float:
    """The option step_size, a length in ODE time.

    Raises:
        ValueError: it is not positive.
    """
    size = float(options["step_size"])
    if not 0 < size < math.inf:
        raise ValueError(f"option `step_size` must be positive, got {size}.")
    return size


class _Reader:
    """Reads states at times off the states at the ends of steps."""

    def __init__(self, inputs: Inputs, grid: Tensor, at: Mapping[int, State], stats: Stats) -> None:
        self.inputs, self.grid, self.at, self.stats = inputs, grid, at, stats
        self._slopes: dict[int, State] = {}

    def on_line(self, time: Tensor, i: int, j: int) -> State:
        """On the line through the states at both ends of a step."""
        share, _ = self._share(time, i, j)
        return self.at[i] + share * (self.at[j] - self.at[i])

    def on_cubic(self, time: Tensor, i: int, j: int) -> State:
        """On the cubic that meets states and slopes at both ends of a step."""
        share, length = self._share(time, i, j)
        y = self.at[i] + share * share * (3 - 2 * share) * (self.at[j] - self.at[i])
        y = y + length * share * (1 - share) ** 2 * self._slope(i)
        return y + length * share * share * (share - 1) * self._slope(j)

    def near_node(self, time: Tensor, i: int) -> State:
        """The state at a node where the caller's time lies, which moves with that time alone."""
        shift = (time - time.detach()) - (self.grid[i] - self.grid[i].detach())
        return self.at[i] + self._slope(i) * _clock_of(shift, self.at[i])

    def _share(self, time: Tensor, i: int, j: int) -> tuple[Tensor, Tensor]:
        """How much of a step lies before a time, and the step's length."""
        length = self.grid[j] - self.grid[i]
        share = (time - self.grid[i]) / length
        return _clock_of(share, self.at[i]), _clock_of(length, self.at[i])

    def _slope(self, i: int) -> State:
        if i not in self._slopes:
            self.stats.nfe_forward += 1
            y = self.at[i]
            self._slopes[i] = self.inputs.field(_clock_of(self.grid[i], y), y)
        return self._slopes[i]


def _walk(
    inputs: Inputs, grid: Tensor, nodes: Sequence[float], needed: Sequence[int]
) -> tuple[State, Stats]:
    """States at the needed points of the grid, shape (points, *y0.shape)."""
    position = _Position(inputs)
    moving = records(grid)
    exact = moving and inputs.method in EXPLICIT
    ends = (grid[0], grid[-1]) if moving and not exact else (nodes[0], nodes[-1])
    saves = grid[needed] if moving and not exact else [nodes[i] for i in needed]

    def field(t: Tensor, y: State) -> Any:
        i = position.step
        if inputs.options.get("perturb"):
            t = _inside(t, nodes[i], nodes[i + 1])
        if not exact:
            return inputs.field(t, y)
        # Each step moves with its own two times, which is the derivative of what was computed.
        clock = Clock(nodes[i], nodes[i + 1], (grid[i], grid[i + 1]))
        return inputs.field(clock.time(t, y), y) * clock.rate(t, y)

    solution = odesolve(
        field,
        inputs.y0,
        *ends,
        solver=stepper(inputs),
        controller=GridController(times=nodes),
        gradient="direct",
        save_at=saves,
        max_steps=len(nodes),
        observer=position,
    )
    return solution.ys, solution.stats


class _Position:
    """Follows the engine from step to step, and tells the callbacks."""

    def __init__(self, inputs: Inputs) -> None:
        self.step, self._callbacks = -1, inputs.callbacks

    def __call__(self, what: str, t0: float, y0: State, dt: float) -> None:
        if what == "attempt":  # fixed steps are never rejected
            self.step += 1
        if self._callbacks:
            self._callbacks(what, t0, y0, dt)


def _grid(inputs: Inputs, t: Tensor) -> Tensor:
    """Ends of all steps, from t[0] to t[-1]."""
    options = inputs.options
    constructor = options.get("grid_constructor")
    if options.get("step_size") is not None:
        if constructor is not None:
            raise ValueError("options `step_size` and `grid_constructor` exclude each other.")
        return _even_grid(t, step_size(options), _slack(inputs, t.tolist()))
    if constructor is None:
        return t
    grid = constructor(inputs.field, inputs.y0, inputs.t)
    if not isinstance(grid, Tensor) or grid.ndim != 1 or len(grid) < 2:
        raise ValueError("`grid_constructor` must return a tensor of at least two times.")
    grid = grid.to("cpu", torch.float64)
    nodes = grid.tolist()
    (first, *_, last), slack = t.tolist(), _slack(inputs, nodes)
    if abs(nodes[0] - first) > slack or abs(nodes[-1] - last) > slack:
        raise ValueError(
            f"`grid_constructor` must return times from t[0] = {first} to t[-1] = {last}, got "
            f"{nodes[0]} to {nodes[-1]}."
        )
    sign = math.copysign(1.0, nodes[-1] - nodes[0])
    if any(sign * (b - a) <= 0 for a, b in zip(nodes, nodes[1:], strict=False)):
        raise ValueError(f"`grid_constructor` must return ordered times, got {nodes}.")
    return grid


def _even_grid(t: Tensor, size: float, slack: float) -> Tensor:
    """Steps of one size, the last of which may be shorter."""
    span = float((t[-1] - t[0]).detach())
    count = max(1, math.ceil((abs(span) - slack) / size))
    steps = torch.arange(count, dtype=torch.float64) * math.copysign(size, span)
    return torch.cat([t[0] + steps, t[-1:]])


def _slack(inputs: Inputs, nodes: Sequence[float]) -> float:
    """Times closer than this are one time: the caller's precision tells them no further apart."""
    return 4 * torch.finfo(inputs.t.dtype).eps * max(abs(nodes[0]), abs(nodes[-1]))


def _place(nodes: Sequence[float], time: float, slack: float) -> tuple[int, ...]:
    """The node that a time lies on, or the two that it lies between."""
    sign = math.copysign(1.0, nodes[-1] - nodes[0])
    j = bisect.bisect_left(nodes, sign * time, key=lambda node: sign * node)
    for i in (j, j - 1):
        if 0 <= i < len(nodes) and abs(nodes[i] - time) <= slack:
            return (i,)
    return (j - 1, j)


def _clock_of(time: Tensor, like: State) -> Tensor:
    return time.to(like.device, like.dtype.to_real())


def _inside(t: Tensor, start: float, end: float) -> Tensor:
    """A time at either end of a step, moved to the next one inside it."""
    first, last = torch.full_like(t, start), torch.full_like(t, end)
    shifted = torch.where(t == first, torch.nextafter(first, last), t)
    return torch.where(t == last, torch.nextafter(last, first), shifted)
