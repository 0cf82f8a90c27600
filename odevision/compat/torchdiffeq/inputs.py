"""Inputs: what odeint was called with, checked, with a tuple state as one flat tensor."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from odevision.compat.torchdiffeq.callbacks import Callbacks
from odevision.compat.torchdiffeq.flat import FlatState
from odevision.compat.torchdiffeq.methods import (
    ADAPTIVE,
    SCIPY,
    check_method,
    valid_callbacks,
    warn_of_unknown_options,
)
from odevision.ode.norm import rms_norm
from odevision.types import Scalar, State

Norm = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """One checked call.

    Attributes:
        field: f(t, y) of a tensor state; the flat one where the caller's state is a tuple.
        y0: the state at t[0], a tensor.
        t: the times, on y0's device.
        method: one of torchdiffeq's names.
        options: the caller's, a copy.
        rtol, atol: numbers, or tensors that broadcast with y0.
        norm: from a scaled error of y0's shape to a zero-dimensional tensor.
        callbacks: what f wants to hear of the steps.
        flat: the layout of a tuple state; None where the caller's state is a tensor.
    """

    field: Callable[[Tensor, State], Any]
    y0: State
    t: Tensor
    method: str
    options: Mapping[str, Any]
    rtol: float | Tensor
    atol: float | Tensor
    norm: Callable[[State], Scalar]
    callbacks: Callbacks
    flat: FlatState | None

    @property
    def times(self) -> list[float]:
        """The times on the host."""
        return self.t.tolist()

    def unpack(self, y: State) -> Any:
        """A state, or states along dimensions in front, as the caller knows them."""
        return y if self.flat is None else self.flat.unpack(y)


def read_inputs(
    func: Callable[..., Any],
    y0: Tensor | Sequence[Tensor],
    t: Tensor,
    *,
    rtol: Any,
    atol: Any,
    method: str | None,
    options: Mapping[str, Any] | None,
) -> Inputs:
    """Check a call of odeint.

    Raises:
        ValueError: an argument is out of its range.
        TypeError: an argument is of another kind; the message says of which it should be.
    """
    method = check_method(method)
    options = dict(options or {})
    warn_of_unknown_options(method, options)
    flat = layout_of(y0)
    start = y0 if flat is None else flat.pack(y0)
    assert isinstance(start, Tensor)
    return Inputs(
        field=field_of(func, flat, broadcasts=method not in (*ADAPTIVE, SCIPY)),
        y0=start,
        t=check_times(t, start),
        method=method,
        options=options,
        rtol=read_tolerance("rtol", rtol, start, flat),
        atol=read_tolerance("atol", atol, start, flat),
        norm=scalar_norm(options.get("norm") or default_norm(flat), flat),
        callbacks=Callbacks.of(func, flat, valid_callbacks(method), method),
        flat=flat,
    )


def default_norm(flat: FlatState | None) -> Norm:
    """torchdiffeq's: root mean square of a tensor, and the largest of these over a tuple.

    odesolve's own default judges each sample. Here programs expect the steps that they had.
    """
    return rms_norm if flat is None else largest_rms


def largest_rms(parts: Sequence[Tensor]) -> Scalar:
    """The largest root mean square of several tensors."""
    return torch.stack([rms_norm(x) for x in parts]).amax()


def scalar_norm(norm: Norm, flat: FlatState | None) -> Callable[[State], Scalar]:
    """A norm of the caller's state as one of the solver's; it may return a plain number."""

    def of_tensor(x: State) -> Scalar:
        value = norm(x if flat is None else flat.unpack(x))
        return torch.as_tensor(value, device=x.device).abs().reshape(())

    return of_tensor


def layout_of(y0: Any) -> FlatState | None:
    """How a tuple state lies in a flat one; None for a tensor.

    Raises:
        TypeError: y0 is neither.
    """
    if isinstance(y0, Tensor):
        return None
    if not isinstance(y0, tuple | list) or not y0 or not all(isinstance(x, Tensor) for x in y0):
        raise TypeError(f"`y0` must be a tensor or a tuple of tensors, got {type(y0).__name__}.")
    return FlatState.of(y0)


def field_of(
    func: Callable[..., Any], flat: FlatState | None, *, broadcasts: bool = True
) -> Callable[[Tensor, State], Any]:
    """The vector field of a tensor state; slopes are cast and shaped where torchdiffeq does that.

    Args:
        func: the caller's.
        flat: the layout of a tuple state.
        broadcasts: take slopes of fewer entries, and numbers, as torchdiffeq's fixed steps do.
    """
    if flat is not None:
        return lambda t, y: flat.pack(func(t, flat.unpack(y)))

    def field(t: Tensor, y: State) -> Any:
        slope = func(t, y)
        if broadcasts and isinstance(slope, int | float):
            slope = torch.as_tensor(slope, dtype=y.dtype, device=y.device)
        if not isinstance(slope, Tensor) or (slope.shape == y.shape and slope.dtype == y.dtype):
            return slope
        if y.is_complex() or not slope.is_complex():
            slope = slope.to(y.dtype)
        extra = max(slope.ndim - y.ndim, 0)
        if slope.shape[extra:].numel() == slope.numel():
            slope = slope.reshape(slope.shape[extra:])
        fits = slope.ndim <= y.ndim and all(
            size in (1, want)
            for size, want in zip(reversed(slope.shape), reversed(y.shape), strict=False)
        )
        # The engine refuses what does not fit, and says which shapes it saw.
        if fits and (broadcasts or slope.numel() == y.numel()):
            slope = slope.expand(y.shape)
        return slope

    return field


def check_times(t: Any, y0: State) -> Tensor:
    """The times, on the state's device.

    Raises:
        TypeError: they are no floating point tensor.
        ValueError: they are no way from a first to a last.
    """
    if not isinstance(t, Tensor) or not t.is_floating_point():
        kind = t.dtype if isinstance(t, Tensor) else type(t).__name__
        raise TypeError(
            f"`t` must be a floating point tensor, got {kind}. Try torch.tensor([...])."
        )
    if t.ndim != 1 or len(t) == 0:
        raise ValueError(f"`t` must have one dimension and a time in it, got {tuple(t.shape)}.")
    times = t.tolist()
    steps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    if not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        raise ValueError(f"`t` must be strictly increasing or decreasing, got {times}.")
    if t.device != y0.device:
        warnings.warn(f"`t` is moved from {t.device} to {y0.device}, where `y0` is.", stacklevel=4)
        t = t.to(y0.device)
    return t


def read_tolerance(name: str, value: Any, y0: State, flat: FlatState | None) -> float | Tensor:
    """A number, or a tensor that broadcasts with y0; for a tuple state also one for each tensor.

    Raises:
        ValueError: it requires a gradient, or there are more or fewer than tensors in y0.
    """
    if isinstance(value, Tensor) and value.requires_grad:
        raise ValueError(f"`{name}` must not require a gradient. Try {name}.detach().")
    real = y0.dtype.to_real()
    if flat is not None and (isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0):
        if len(value) != len(flat.shapes):
            raise ValueError(
                f"`{name}` must be one number, or one for each of the {len(flat.shapes)} tensors "
                f"of `y0`, got {len(value)}."
            )
        parts = [
            torch.as_tensor(part, dtype=real, device=y0.device).reshape(-1).expand(shape.numel())
            for part, shape in zip(value, flat.shapes, strict=True)
        ]
        return torch.cat(parts)
    if isinstance(value, int | float):
        return float(value)
    tolerance = torch.as_tensor(value)
    return float(tolerance) if tolerance.numel() == 1 else tolerance.to(y0.device, real)
