"""Who looks at a solve: autograd, forward-mode differentiation, torch.func, compilers, tracers."""

from typing import TypeGuard

import torch
from torch import Tensor
from torch._C import _functorch  # type: ignore[attr-defined]
from torch.autograd import forward_ad


def transformed() -> bool:
    """Whether a compiler or a function transform traces what runs now."""
    if torch.compiler.is_compiling():
        return True
    return _in_transform() or forward_ad._current_level >= 0 or torch._C._is_tracing()


def lasting(x: Tensor) -> bool:
    """Whether constants made for x serve later solves: not in a compiler's or a tracer's world."""
    return type(x) in (Tensor, torch.nn.Parameter) and not torch.compiler.is_compiling()


def mapped(x: object) -> bool:
    """Whether torch.func.vmap hides a dimension of x: no part of it can be read on the host."""
    if torch.compiler.is_compiling() or not _in_transform():
        return False
    while isinstance(x, Tensor) and _functorch.is_functorch_wrapped_tensor(x):
        if _functorch.is_batchedtensor(x):
            return True
        x = _functorch.get_unwrapped(x)
    return False


def tracked(x: object) -> TypeGuard[Tensor]:
    """Whether derivatives with respect to x may be asked for."""
    if not isinstance(x, Tensor):
        return False
    if torch.compiler.is_compiling():
        return x.requires_grad
    inner: Tensor = x
    while not (inner.requires_grad or _has_tangent(inner)):  # at some level of nested transforms
        if not _functorch.is_functorch_wrapped_tensor(inner):
            return False
        inner = _functorch.get_unwrapped(inner)
    return True


def recording() -> bool:
    """Whether derivatives may be asked for of what runs now: `no_grad` stops the backward ones."""
    return torch.is_grad_enabled() or transformed()


def records(x: object) -> TypeGuard[Tensor]:
    """Whether derivatives with respect to x may be asked for of what runs now."""
    return tracked(x) and recording()


def _has_tangent(x: Tensor) -> bool:
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def _in_transform() -> bool:
    return _functorch.maybe_current_level() is not None
