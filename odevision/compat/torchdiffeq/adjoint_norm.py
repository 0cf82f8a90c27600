"""The error norm of a backward solve, over torchdiffeq's augmented state (t, y, lam, *params)."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from odevision.compat.torchdiffeq.inputs import Inputs, Norm, largest_rms
from odevision.types import Scalar

AdjointNorm = Callable[[tuple[Tensor, ...]], Any]


def adjoint_norm(given: Norm | str | None, inputs: Inputs, *, left_out: int) -> AdjointNorm:
    """A norm of the augmented state, in which a tuple y and its adjoint are flat.

    Args:
        given: the caller's: a function, "seminorm", or None for the largest norm of any part.
        inputs: the forward solve, whose norm judges y and lam.
        left_out: number of parameters that require no gradient and are no part of the state.

    Raises:
        ValueError: it is another word.
    """
    if callable(given):
        return _callers(given, inputs, left_out)
    if given not in (None, "seminorm"):
        raise ValueError(
            f"option `norm` of the adjoint must be a function or 'seminorm', got {given!r}."
        )

    def largest(parts: tuple[Tensor, ...]) -> Scalar:
        t, y, lam, *params = parts
        sizes = [t.abs(), inputs.norm(y), inputs.norm(lam)]
        if params and given is None:
            sizes.append(largest_rms(params))
        return torch.stack([size.reshape(()).to(y.device) for size in sizes]).amax()

    return largest


def _callers(given: Norm, inputs: Inputs, left_out: int) -> AdjointNorm:
    """The caller's norm, which gets a tuple y and its adjoint as the tensors that they hold."""
    if left_out:
        warnings.warn(
            f"{left_out} of the adjoint's parameters require no gradient: the `norm` of "
            "`adjoint_options` does not receive them.",
            stacklevel=4,
        )
    flat = inputs.flat
    if flat is None:
        return given

    def of_tensors(parts: tuple[Tensor, ...]) -> Any:
        t, y, lam, *params = parts
        return given((t, *flat.unpack(y), *flat.unpack(lam), *params))

    return of_tensors
