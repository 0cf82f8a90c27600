"""Products with the Jacobian df/dy of a vector field, and its blocks, by automatic differentiation.

Nothing here builds the whole Jacobian of a large state.
"""

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from odevision.ode.solver import Field
from odevision.types import State

Product = Callable[[State], State]
"""Linear map on the state's space."""

DIFFERENCES = 2
"""The way that needs no derivative of f."""


class Jacobian:
    """Products with df/dy, in the first of three ways that the vector field supports.

    0. Forward mode evaluates f once a product and sees through torch.no_grad.
    1. Backward mode twice: one evaluation, then two backward passes through its graph a product. It
       takes over where an operation lacks the first (a custom autograd.Function, forward mode of
       f's own).
    2. Differences over a step of sqrt(eps) of the state's size, one evaluation a product. Accurate
       to about sqrt(eps), which slows Newton's iteration and leaves its answer as accurate.

    torch.func.jvp was rejected: it takes 1.2 to 1.7 times as long as the dual numbers below it, and
    refuses fields that call autograd themselves, such as the force of an energy.

    Args:
        f: the vector field.
        way: the first of the three to try.

    Attributes:
        way: the one in use.
    """

    def __init__(self, f: Field, way: int = 0) -> None:
        """Nothing is differentiated yet."""
        self.f, self.way = f, way

    def at(self, t: float, y: State) -> Product:
        """The product with df/dy at (t, y), v -> (df/dy) v."""
        makers = (self._forward, self._double_backward, self._differences)
        made: dict[int, Product] = {}

        def product(v: State) -> State:
            while True:
                try:
                    if self.way not in made:
                        made[self.way] = makers[self.way](t, y)
                    return made[self.way](v)
                except (RuntimeError, NotImplementedError):
                    # An exception of the field's own comes back from the last way.
                    if self.way == DIFFERENCES:
                        raise
                    self.way += 1

        return product

    def _forward(self, t: float, y: State) -> Product:
        _load_forward_mode()

        def product(v: State) -> State:
            with forward_ad.dual_level():
                dual = self.f(t, forward_ad.make_dual(y, v))
                tangent = forward_ad.unpack_dual(dual).tangent
            return torch.zeros_like(v) if tangent is None else tangent.detach()

        return product

    def _double_backward(self, t: float, y: State) -> Product:
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            k = self.f(t, y)
            if not k.requires_grad:  # it runs under no_grad, or does not depend on y
                raise RuntimeError("no graph to differentiate")
            u = torch.zeros_like(k, requires_grad=True)
            pulled = torch.autograd.grad(k, y, u, create_graph=True)[0]

        def product(v: State) -> State:
            return torch.autograd.grad(pulled, u, v, retain_graph=True)[0]

        return product

    def _differences(self, t: float, y: State) -> Product:
        with torch.no_grad():
            k = self.f(t, y)
        size = y.abs().amax()
        size = torch.where(size > 0, size, 1)

        def product(v: State) -> State:
            reach = v.abs().amax()
            step = torch.finfo(y.dtype).eps ** 0.5 * size / torch.where(reach > 0, reach, 1)
            with torch.no_grad():
                return (self.f(t, y + step * v) - k) / step

        return product


@functools.cache
def _load_forward_mode() -> None:
    """Torch loads a part at its first dual number, with a warning about torch's own code."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore")
        forward_ad.make_dual(torch.zeros(()), torch.zeros(()))


def pull_back(k: State, y: State, w: State) -> State:
    """The cotangent (df/dy)^T w; 0 where k does not depend on y."""
    if not k.requires_grad:
        return torch.zeros_like(w)
    pulled = torch.autograd.grad(k, y, w, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(w) if pulled is None else pulled


def jacobian_blocks(k: State, y: State, num_samples: int) -> Tensor:
    """Each sample's own Jacobian, as if no sample's slope depended on another's state.

    Args:
        k: f(t, y), with its graph to y.
        y: the state, which requires a gradient.
        num_samples: how many equal parts along y's first dimension count as samples; 1 gives the
            whole Jacobian.

    Returns:
        Blocks dk/dy, of shape (samples, entries, entries).
    """
    size = y.numel() // num_samples
    one = torch.eye(size, dtype=y.dtype, device=y.device)
    rows = _pull_back_all(k, y, one, num_samples)
    if rows is None:
        rows = torch.stack(
            [pull_back(k, y, w.expand(num_samples, size).reshape(y.shape)) for w in one]
        )
    return rows.reshape(size, num_samples, size).transpose(0, 1)


# Measured on one core: 0.35 instead of 4.2 ms for the 64 rows of a small network's Jacobian, and no
# gain where a row is large.
_FEW_ROWS, _MANY_ENTRIES = 4, 2**17


def _pull_back_all(k: State, y: State, one: Tensor, num_samples: int) -> Tensor | None:
    """The rows of the blocks by a single batched backward pass; None where that is of no use."""
    size = one.shape[0]
    if size <= _FEW_ROWS or y.numel() * size > _MANY_ENTRIES or not k.requires_grad:
        return None
    w = one[:, None].expand(size, num_samples, size).reshape(size, *y.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some operations are batched by a loop, and warn
        try:
            rows = torch.autograd.grad(
                k, y, w, retain_graph=True, allow_unused=True, is_grads_batched=True
            )[0]
        except RuntimeError:  # custom autograd functions may lack a rule for batches
            return None
    return torch.zeros_like(w) if rows is None else rows
