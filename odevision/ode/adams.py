"""Adams-Bashforth and Adams-Bashforth-Moulton methods of orders 1 to 12, on any grid of times.

References: Hairer, Norsett, Wanner: Solving ODEs I, section III.1 (the formulas), III.5 (variable
steps) and II.9 (the extrapolated midpoint rule that starts them).
"""

import dataclasses
import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from odevision.ode.solver import AbstractSolver, Field, Memory, Step
from odevision.types import Number, State

MAX_ORDER = 12

# Gauss-Legendre nodes and weights on [0, 1]: six of them integrate degree 11 exactly, which is that
# of the polynomial through twelve slopes.
_QUADRATURE = (
    (0.033765242898423989, 0.085662246189585172),
    (0.16939530676686774, 0.18038078652406931),
    (0.38069040695840155, 0.23395696728634552),
    (0.61930959304159845, 0.23395696728634552),
    (0.83060469323313226, 0.18038078652406931),
    (0.96623475710157601, 0.085662246189585172),
)

# Slopes closer together than this share of the step tell of rounding more than of the solution.
_SEPARATION = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adams(AbstractSolver):
    """A linear multistep method: y1 = y0 + integral from t0 to t1 of a polynomial through slopes.

    Adams-Bashforth takes the slopes at t0 and at order - 1 earlier times, one evaluation of f a
    step. Adams-Bashforth-Moulton predicts y1 so, evaluates f there, and corrects y1 by the
    polynomial through that slope and all older ones but the last: two evaluations (PECE; the last
    E is the first evaluation of the next step).

    The weights are made for the times at which the slopes were taken, so unequal steps and a short
    last one keep the order. Where too few slopes are at hand, at the start and where a step is
    several times longer than those before it, the step is made by the extrapolated midpoint rule of
    at least the same order instead, (order / 2)^2 + 1 evaluations.

    On dy/dt = lam y with lam < 0 the explicit methods are stable for |lam dt| up to 2, 1, 0.55,
    0.3, 0.16, 0.088 at orders 1 to 6, and about half as far with each further order; they amplify
    rounding as fast. Orders above 6 pay in float64 and on smooth fields alone.

    Args:
        order: p, 1 to 12; also the number of slopes.
        implicit: whether to correct (Adams-Moulton).
        max_iters: most corrections a step, each with one evaluation. More than one solve the
            implicit equation by functional iteration, which converges where |lam dt| is small.
        rtol: relative tolerance between two corrections at which they end, by the largest entry, a
            number or a tensor that broadcasts to the state. None makes exactly max_iters
            corrections. A tolerance costs one host read a correction; where it is not met, a
            warning says so.
        atol: absolute tolerance, in units of y.
    """

    order: int
    implicit: bool = False
    max_iters: int = 1
    rtol: Number | Tensor | None = None
    atol: Number | Tensor = 0.0
    kind: str = dataclasses.field(init=False, default="multistep")
    name: str = dataclasses.field(init=False)
    lands_on_saves: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Refuse orders without a formula, and settings that would have no effect."""
        if not isinstance(self.order, int) or not 1 <= self.order <= MAX_ORDER:
            raise ValueError(
                f"`order` must be a whole number from 1 to {MAX_ORDER}, got {self.order!r}. Try 4."
            )
        if not isinstance(self.max_iters, int) or self.max_iters < 1:
            raise ValueError(
                f"`max_iters` must be a whole number of at least 1, got {self.max_iters!r}. Try 1."
            )
        if not self.implicit and (self.max_iters != 1 or self.rtol is not None):
            raise ValueError(
                "`max_iters` and `rtol` must be left out where `implicit` is False: an explicit "
                f"step is not iterated, got {self.max_iters} and {self.rtol}. Try implicit=True."
            )
        family = "adams-moulton" if self.implicit else "adams-bashforth"
        object.__setattr__(self, "name", f"{family}{self.order}")
        # The cubic interpolant has an error of order 4. A landing changes the grid, and the weights
        # follow it; a polynomial through the older slopes would fail in the first steps, which
        # have none.
        object.__setattr__(self, "lands_on_saves", self.order > 4)

    def step(
        self,
        f: Field,
        t0: float,
        t1: float,
        y0: State,
        f0: State | None,
        memory: Memory,
        *,
        all_stages: bool,
    ) -> Step:
        """Attempt one step; the memory holds the newest slopes, newest first, and one to spare.

        The spare one takes the place of a slope that a very short step, made only to land on a
        saved time, left too close to the next.
        """
        del all_stages
        dt = t1 - t0
        f0 = f(t0, y0) if f0 is None else f0
        past = _separated(Memory((f0, *memory.states), (t0, *memory.times)), dt)
        keep = self.order if self.order > 1 else 0
        newest = Memory(past.states[:keep], past.times[:keep])
        slopes, nodes = past.states[: self.order], [(t - t0) / dt for t in past.times[: self.order]]
        weights = adams_weights(nodes)
        # The sum is about 2^(order - 1.5) on equal steps; NaN where a step is all but 0.
        few = len(nodes) < self.order
        if few or not sum(map(abs, weights)) <= 2.0 ** (self.order + 1):
            y1 = extrapolated_midpoint(f, t0, t1, y0, f0, columns=(self.order + 1) // 2)
            return Step(t0, t1, y0, y1, [f0], f0, None, newest)
        y1 = _advance(y0, dt, weights, slopes)
        if not self.implicit:
            return Step(t0, t1, y0, y1, [f0], f0, None, newest)
        weights = adams_weights([1.0, *nodes[:-1]])
        base = _advance(y0, dt, weights[1:], slopes[:-1])
        y1, k = self._correct(f, t1, y1, base, dt * weights[0])
        return Step(t0, t1, y0, y1, [f0, *k], f0, None, newest)

    def _correct(
        self, f: Field, t1: float, y1: State, base: State, factor: float
    ) -> tuple[State, list[State]]:
        """Solve y1 = base + factor f(t1, y1) by iteration, from the predicted y1."""
        k = []
        for _ in range(self.max_iters):
            k.append(f(t1, y1))
            before, y1 = y1, torch.add(base, k[-1], alpha=factor)
            if self.rtol is not None and _agree(before, y1, self.rtol, self.atol):
                return y1, k
        if self.rtol is not None:
            # No failure: each correction has the order of the method, converged or not.
            warnings.warn(
                f"Functional iteration did not converge in {self.max_iters} corrections of an "
                "Adams-Moulton step. The solution may be inaccurate. Try shorter steps, or an "
                "implicit solver where f is stiff.",
                stacklevel=3,
            )
        return y1, k

    def stage_time(self, step: Step, stage: int) -> float:
        """Time at which a stage of the step was evaluated: t0, then t1 for all corrections."""
        return step.t0 if stage == 0 else step.t1


def adams_weights(nodes: Sequence[float]) -> list[float]:
    """Weights w_j with integral from 0 to 1 of p = sum_j w_j p(x_j) for polynomials p.

    They are exact up to rounding below the degree len(nodes) <= 12. Products of differences keep
    every weight accurate however unequal the nodes are; no system is solved.

    Args:
        nodes: distinct times x_j at which slopes are known, in units of the step from its start:
            0 and less, or 1.

    Returns:
        One weight a node, in units of the step.
    """
    weights = [0.0] * len(nodes)
    for x, share in _QUADRATURE:
        product = share * math.prod([x - node for node in nodes])
        weights = [w + product / (x - node) for w, node in zip(weights, nodes, strict=True)]
    return [
        w / math.prod([node - other for other in nodes if other != node])
        for w, node in zip(weights, nodes, strict=True)
    ]


def extrapolated_midpoint(
    f: Field, t0: float, t1: float, y0: State, f0: State, *, columns: int
) -> State:
    """One step of Gragg's method: the explicit midpoint rule, extrapolated to order 2 columns.

    The step is made with 2, 4, ..., 2 columns substeps. Their errors are series in the square of
    the substep, of which all terms up to that order cancel: columns^2 + 1 evaluations with f0.

    Args:
        f: the vector field.
        t0: start of the step.
        t1: end of the step; f is evaluated before it only.
        y0: state at t0, any shape.
        f0: f(t0, y0).
        columns: number of extrapolated solutions, at least 1.

    Returns:
        The state at t1.
    """
    counts = range(2, 2 * columns + 1, 2)
    total = None
    for count in counts:
        dt = (t1 - t0) / count
        # Increments in place of states: the extrapolation amplifies their rounding alone.
        before, increment = None, torch.mul(f0, dt)
        for i in range(1, count):
            k = f(t0 + i * dt, y0 + increment)
            after = torch.mul(k, 2 * dt) if before is None else torch.add(before, k, alpha=2 * dt)
            before, increment = increment, after
        weight = math.prod([count**2 / (count**2 - n**2) for n in counts if n != count])
        if total is None:
            total = torch.mul(increment, weight)
        else:
            total.add_(increment, alpha=weight)
    assert total is not None
    return y0 + total


def _separated(past: Memory, dt: float) -> Memory:
    """The slopes that lie far enough from the next newer one, seen from a step of length dt."""
    states, times = [past.states[0]], [past.times[0]]
    for state, t in zip(past.states[1:], past.times[1:], strict=True):
        if abs(t - times[-1]) >= _SEPARATION * abs(dt):
            states.append(state)
            times.append(t)
    return Memory(tuple(states), tuple(times))


def _advance(y: State, dt: float, weights: Sequence[float], slopes: Sequence[State]) -> State:
    """Sum y + dt sum_j weights_j slopes_j, without a change to y."""
    if not weights:
        return y
    # The slopes first: large weights of both signs cancel before they meet y.
    total = torch.mul(slopes[0], dt * weights[0])
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        total.add_(slope, alpha=dt * weight)
    return y + total


def _agree(before: State, y1: State, rtol: Number | Tensor, atol: Number | Tensor) -> bool:
    """Whether two corrections differ by less than the tolerance in every entry."""
    with torch.no_grad():
        scale = torch.maximum(before.abs(), y1.abs()) * rtol + atol
        # The one host read of a correction: whether to go on is the loop's question.
        return bool(((y1 - before).abs() <= scale).all())


ADAMS_METHODS: dict[str, AbstractSolver] = {
    solver.name: solver
    for implicit in (False, True)
    for solver in (Adams(order=order, implicit=implicit) for order in range(1, MAX_ORDER + 1))
}
