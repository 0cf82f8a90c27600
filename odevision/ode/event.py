"""Events: where a function of the solution crosses zero, found inside the accepted steps."""

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from odevision.ode.interpolation import Interpolant
from odevision.ode.per_sample import select_samples
from odevision.ode.term import bind_args
from odevision.ode.tracing import tracked, transformed


@dataclasses.dataclass(frozen=True)
class Event:
    """A root of g(t, y(t)), looked for between the ends of every accepted step.

    A g that reaches zero has crossed it, whether it then goes on, stays there or turns back: that
    counts once. Two crossings within one step cancel out and are missed: bound the step by
    `dt_max` then.

    Args:
        function: g, called as g(t, y), or g(t, y, *args) where args are given, with t of shape ()
            and y nested like y0; it returns one real number. Under batch="independent" it receives
            some of the samples, with t as f receives it, and returns one number each, shape
            (rows,). A module's parameters, and whatever else g closes over, receive gradients
            through the event's time and state.
        terminal: end the solve there.
        direction: +1 counts crossings from below zero to above, as the solve goes, -1 those from
            above to below, 0 both.
        tolerance: of the root's time, in ODE time; 0 finds it to rounding.
        args: further arguments for g, as those of `odesolve` for f; `PerSample` marks those with
            one entry a sample.

    Raises:
        ValueError: an argument is out of its range.
    """

    function: Callable[..., Tensor]
    terminal: bool = True
    direction: int = 0
    tolerance: float = 0.0
    args: Any = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be looked for."""
        if not callable(self.function):
            raise ValueError(
                f"`function` must be callable as g(t, y), got {type(self.function).__name__}."
            )
        if self.direction not in (-1, 0, 1):
            raise ValueError(f"`direction` must be -1, 0 or 1, got {self.direction!r}.")
        if not self.tolerance >= 0:
            raise ValueError(f"`tolerance` must be at least 0, got {self.tolerance!r}.")

    def bind(self, samples: Tensor | None = None) -> Callable[[Tensor, Any], Any]:
        """The function g(t, y) with its arguments, those of all samples or of some."""
        return bind_args(self.function, select_samples(self.args, samples))


AT_ZERO = 0.5
"""Of a sign: the number is zero since it crossed, coming from that side."""


@dataclasses.dataclass(frozen=True)
class Crossing:
    """A root inside a step: which event it belongs to, and its time."""

    event: int
    t: float


class EventWatch:
    """Looks for the roots of several events, step by step, in a solve of one common clock.

    Args:
        events: what to look for.
        evaluate: calls an event's function at a time on the host and a packed state.
    """

    def __init__(
        self, events: Sequence[Event], evaluate: Callable[[Event, float, Tensor], Tensor]
    ) -> None:
        """Nothing is evaluated yet."""
        self.events, self._evaluate = tuple(events), evaluate
        self._signs = [0.0] * len(self.events)

    def start(self, t: float, y: Tensor) -> None:
        """Note the signs at the start; a zero there is no crossing."""
        self._signs = [float(_sign(v)) for v in self._values(t, y)]  # NaN is neither: 0

    def crossings(self, t: float, y1: Tensor, inside: Callable[[], Interpolant]) -> list[Crossing]:
        """Roots in a step that ends at (t, y1), in order, up to the first terminal one.

        Args:
            t: end of the step.
            y1: state there.
            inside: makes the step's interpolant; called only where a sign changed.
        """
        found, before, self._signs = [], self._signs, []
        values = self._values(t, y1)
        for i, (event, old, value) in enumerate(zip(self.events, before, values, strict=True)):
            new = old if math.isnan(value) else float(_sign(value))
            has_crossed = abs(old) == 1 and new != old
            if new == 0:
                new = AT_ZERO * old if has_crossed else old
            self._signs.append(new)
            if has_crossed and event.direction in (0, -old):
                found.append(Crossing(i, self._root(event, inside(), old)))
        if not found:
            return found
        step = inside()
        found.sort(key=lambda crossing: abs(crossing.t - step.t0))
        for count, crossing in enumerate(found, 1):
            if self.events[crossing.event].terminal:
                return found[:count]
        return found

    def inner_root(self, t: float, y1: Tensor, inside: Callable[[], Interpolant]) -> float | None:
        """The first root that lies well inside a step, which is looked at and not noted.

        An interpolant is far more accurate close to the ends of its step than inside it.
        """
        signs = self._signs
        found, self._signs = self.crossings(t, y1, inside), signs
        for crossing in found:
            step = inside()
            share = (crossing.t - step.t0) / (step.t1 - step.t0)
            if 1e-3 < share < 1 - 1e-3:
                return crossing.t
        return None

    def ends(self, crossings: Sequence[Crossing]) -> bool:
        """Whether the last of these ends the solve."""
        return bool(crossings) and self.events[crossings[-1].event].terminal

    def _values(self, t: float, y: Tensor) -> list[float]:
        with torch.no_grad():
            values = [self._evaluate(event, t, y) for event in self.events]
        # One host read a step for all events.
        numbers = torch.stack([v.double() for v in values]).tolist()
        # Of a state that is NaN the solve itself tells, or returns it as it is.
        if any(map(math.isnan, numbers)) and bool(torch.isfinite(y).all()):
            raise nan_error(f"at t = {t:.6g}")
        return numbers

    def _root(self, event: Event, step: Interpolant, old: float) -> float:
        """Bisection and secant in turn: the bracket at least halves every second evaluation."""
        # Times are float64 on the host; the state tells parts of the step apart by its precision.
        precision = sys.float_info.epsilon * max(abs(step.t0), abs(step.t1))
        inside = torch.finfo(step.y0.dtype).eps * abs(step.t1 - step.t0)
        tolerance = max(event.tolerance, precision, inside)
        a, b = step.t0, step.t1
        with torch.no_grad():
            at = lambda t: float(self._evaluate(event, t, step(t)))
            g_a, g_b = at(a), at(b)
            for i in range(200):
                if abs(b - a) <= tolerance:
                    break
                t = 0.5 * (a + b)
                if i % 2 == 0 and g_a != g_b and math.isfinite(g_a - g_b):
                    secant = b - g_b * (b - a) / (g_b - g_a)
                    # A little past the estimate, so that the bracket closes from both sides.
                    past = math.copysign(0.5 * tolerance, abs(b - secant) - abs(secant - a))
                    secant += math.copysign(1.0, b - a) * past
                    t = secant if min(a, b) < secant < max(a, b) else t
                g_t = at(t)
                if _sign(g_t) == old:
                    a, g_a = t, g_t
                else:
                    b, g_b = t, g_t
        return b


def refuse_unordered(value: Tensor) -> None:
    """Refuse what has no sign.

    Raises:
        ValueError: an event's value is boolean or complex.
    """
    if value.dtype == torch.bool or value.is_complex():
        raise ValueError(
            f"`event` must return real numbers, which change their sign at the root, got "
            f"{value.dtype}. Try y[0] - 0.5 in place of y[0] > 0.5."
        )


def nan_error(where: str) -> ValueError:
    """The error that tells of an event that is NaN, though the state is not."""
    return ValueError(
        f"`event` must return a number, got NaN {where}. Try to bound what it divides by."
    )


def attach_root_gradient(
    g: Callable[[Tensor, Tensor], Tensor],
    f: Callable[[Tensor, Tensor], Tensor],
    t: Tensor,
    y: Tensor,
) -> tuple[Tensor, Tensor]:
    """The time and state of a root, with the gradients that its motion adds.

    Where y(t) or g's parameters move, the root moves by -dg / (dg/dt + dg/dy f), and the state
    there by f times that (implicit function theorem). First derivatives only.

    Args:
        g: the event's function.
        f: the vector field.
        t: the root's time, shape () or (batch,) for independent samples. It may be more precise
            than the state; g and f receive it as precise as that.
        y: the packed state there, differentiable at fixed time.
    """
    lead = t.ndim  # 1 for independent samples: each has its own time
    column = t.to(y.device, y.real.dtype)
    column = column.reshape(*t.shape, *[1] * (y.ndim - lead)) if lead else column
    value = g(column, y)
    if not tracked(value):
        return t, y
    with torch.no_grad():
        slope = f(column, y)
    by_t, by_y = _slopes(g, column.detach(), y.detach())
    motion = (by_y.conj() * slope).real
    rate = by_t.reshape(t.shape)
    rate = rate + (motion.flatten(lead).sum(-1) if lead < motion.ndim else motion)
    value = value.reshape(t.shape).to(column.dtype)
    # Where g is flat at its root, as a sign is, the root's motion is not known: left out.
    weight = torch.where(rate == 0, 0, -1 / rate)
    shift = first_order((value - value.detach()) * weight, "event")
    return t + shift.to(t), y + slope * shift.reshape(column.shape)


def _slopes(g: Callable[[Tensor, Tensor], Tensor], t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives of sum(g) by t and y."""
    if transformed():  # where requires_grad_() is not allowed
        return torch.func.grad(lambda t, y: g(t, y).sum(), (0, 1))(t, y)
    with torch.enable_grad():
        t, y = t.requires_grad_(), y.requires_grad_()
        value = g(t, y).sum()
        if not value.requires_grad:
            return torch.zeros_like(t), torch.zeros_like(y)
        by_t, by_y = torch.autograd.grad(value, (t, y), allow_unused=True, materialize_grads=True)
    return by_t, by_y


def first_order(x: Tensor, what: str) -> Tensor:
    """The same x, whose first derivatives alone are right: differentiating them again is refused.

    Args:
        x: any tensor.
        what: the argument of odesolve that the message names.
    """
    return _FirstOrder.apply(x, what)


class _FirstOrder(torch.autograd.Function):
    """The identity; its gradient is tied to x, so that derivatives of the gradient are noticed."""

    generate_vmap_rule = True  # jacobians map over directions

    @staticmethod
    def forward(x: Tensor, what: str) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str], output: Tensor) -> None:
        x, ctx.what = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return _Refusal.apply(*grad_outputs, *ctx.saved_tensors, ctx.what), None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Tensor | None) -> Tensor:
        return _Refusal.apply(grad_inputs[0], *ctx.saved_tensors, ctx.what)


class _Refusal(torch.autograd.Function):
    """Hands a gradient on that must not be differentiated by x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, x: Tensor, what: str) -> Tensor:
        return gradient.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, str], output: Tensor) -> None:
        ctx.what = inputs[2]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        _refuse(ctx.what)

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Tensor | None) -> Any:
        _refuse(ctx.what)


def _refuse(what: str) -> None:
    raise ValueError(
        f"`{what}` must not be part of a gradient that is differentiated again: the motion of a "
        "root or of a saved state with its time is known to first order only. Try finite "
        "differences of the first gradient."
    )


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
