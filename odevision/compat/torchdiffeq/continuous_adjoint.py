"""The continuous adjoint of Chen et al. 2018, with torchdiffeq's augmented state.

The forward solve keeps no graph. The backward pass solves, from each time to the one before,
    d/dt (a_t, y, lam, a_theta) = (-lam df/dt, f, -lam df/dy, -lam df/dtheta)
as one tuple state. The gradient is right up to the tolerances, unlike those of `odesolve`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor

from odevision.compat.torchdiffeq.forward import solve
from odevision.compat.torchdiffeq.inputs import Inputs, read_inputs
from odevision.compat.torchdiffeq.roots import EventFunction, find_event
from odevision.compat.torchdiffeq.statistics import remember
from odevision.ode.solution import Stats
from odevision.types import State


@dataclasses.dataclass(frozen=True)
class Backward:
    """How to solve backward.

    Attributes:
        field: f(t, y) of a tensor state.
        settings: rtol, atol, method and options, of the augmented state.
        callbacks: by the name under which a forward solve looks for them.
    """

    field: Callable[[Tensor, State], Any]
    settings: Mapping[str, Any]
    callbacks: Mapping[str, Callable[..., Any]]


class ContinuousAdjoint(torch.autograd.Function):
    """A forward solve without a graph, whose backward pass is a solve backward in time."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Inputs,
        event: EventFunction | None,
        backward: Backward,
        y0: State,
        t: Tensor,
        *params: Tensor,
    ) -> Any:
        """Solve; `y0`, `t` and `params` are named for autograd to see them."""
        if event is None:
            ys, stats = solve(inputs)
            times, event_t = t, None
            ys = ys.clone() if len(t) == 1 else ys  # else a view of an input
        else:
            event_t, ys, stats = find_event(inputs, event)
            times = torch.stack([t[0], event_t])
        remember(stats)
        ctx.has_event, ctx.times_given = event is not None, len(t)
        ctx.backward_solve, ctx.stats = backward, stats
        # Programs exchange the norm in here between the forward and the backward pass.
        ctx.adjoint_options = backward.settings["options"]
        kind = y0.device.type
        # Backward runs outside of the caller's autocast: it enters the same state again.
        ctx.autocast = {
            "device_type": kind,
            "enabled": torch.is_autocast_enabled(kind),
            "dtype": torch.get_autocast_dtype(kind),
        }
        ctx.save_for_backward(times, ys, y0, t, *params)
        return ys if event_t is None else (event_t, ys)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Solve backward in time; the event's time passes no gradient on."""
        times, ys, y0, t, *params = ctx.saved_tensors
        wants_t = ctx.needs_input_grad[4]
        with torch.no_grad(), torch.autocast(**ctx.autocast):
            of_times, lam, of_params = _solve_backward(
                ctx, times, ys, tuple(params), gradients[-1], wants_t
            )
            if ctx.has_event and wants_t:
                of_times = torch.cat([of_times[:1], of_times.new_zeros(ctx.times_given - 1)])
        answers = [lam, of_times if wants_t else None, *of_params]
        if torch.is_grad_enabled():
            depends_on = (*gradients, y0, t, *params)
            answers = [None if x is None else _Final.apply(x, *depends_on) for x in answers]
        return None, None, None, *answers


def _solve_backward(
    ctx: Any,
    times: Tensor,
    ys: Inexact[Tensor, "times ..."],
    params: tuple[Tensor, ...],
    gradient: Inexact[Tensor, "times ..."],
    wants_t: bool,
) -> tuple[Tensor, State, list[Tensor]]:
    """Gradients of the times, of y0 and of the parameters."""
    how: Backward = ctx.backward_solve
    augmented = _Augmented(how, params, wants_t)
    real = ys.dtype.to_real()
    of_times = torch.zeros(len(times), dtype=times.dtype, device=times.device)
    a_t, lam = torch.zeros((), dtype=real, device=ys.device), gradient[-1]
    of_params = [torch.zeros_like(x) for x in params]
    for i in range(len(times) - 1, 0, -1):
        if wants_t:  # the output moves with its time at the rate f
            slope = how.field(times[i].to(real), ys[i])
            ctx.stats.nfe_backward += 1
            of_times[i] = (gradient[i].conj() * slope).real.sum()
            a_t = a_t - of_times[i].to(a_t)
        settings = {**how.settings, "options": ctx.adjoint_options}
        state = (a_t, ys[i], lam, *of_params)
        inputs = read_inputs(augmented, state, times[i - 1 : i + 1].flip(0), **settings)
        solved, stats = solve(inputs)
        _add_backward(ctx.stats, stats)
        # The state starts each stretch from what the forward solve had there.
        a_t, _, lam, *of_params = (part[-1] for part in inputs.unpack(solved))
        lam = lam + gradient[i - 1]
    of_times[0] = a_t
    return of_times, lam, of_params


class _Augmented:
    """The vector field of the augmented state, with the backward solve's callbacks."""

    def __init__(self, how: Backward, params: tuple[Tensor, ...], wants_t: bool) -> None:
        self._field, self._params, self._wants_t = how.field, params, wants_t
        for name, callback in how.callbacks.items():
            setattr(self, name, callback)

    def __call__(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        _, y, lam, *_ = state
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            t = t.detach().requires_grad_(self._wants_t)
            slope = self._field(t, y)
        wanted = (*((t,) if self._wants_t else ()), y, *self._params)
        if slope.requires_grad:
            # The graph may share parts between evaluations: a weight that was computed once.
            pulled = torch.autograd.grad(slope, wanted, -lam, allow_unused=True, retain_graph=True)
        else:
            pulled = (None,) * len(wanted)
        filled = [
            torch.zeros_like(x) if p is None else p for x, p in zip(wanted, pulled, strict=True)
        ]
        a_t = filled.pop(0) if self._wants_t else torch.zeros_like(t)
        return a_t, slope.detach(), *filled


class _Final(torch.autograd.Function):
    """A gradient that refuses to be differentiated again, by whatever it depends on.

    Without this it would count as a constant in a second differentiation, without a word.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *depends_on: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        raise ValueError(
            "a gradient that came through `odeint_adjoint` must not be differentiated again: its "
            "backward pass keeps no graph. Try `odeint`, which has all derivatives."
        )


def _add_backward(total: Stats, part: Stats) -> None:
    total.nfe_backward += part.nfe_forward
