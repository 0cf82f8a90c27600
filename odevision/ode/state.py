"""StateLayout: nested states as the one tensor that solvers advance, and back."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from odevision.types import State


@dataclasses.dataclass(frozen=True)
class StateLayout:
    """How a tuple, list or dict of tensors, nested or not, lies in one tensor.

    Where all leaves share dimension 0 and one of them has more than that one, dimension 0 counts
    the samples and the packed state has shape (batch, entries); otherwise it is flat, one sample.
    Leaves of several dtypes are promoted to a common one and come back as they were.

    Attributes:
        spec: the nesting.
        shapes: shapes of the leaves.
        dtypes: their dtypes.
        batch: number of samples; None where the packed state is flat.
    """

    spec: pytree.TreeSpec
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]
    batch: int | None

    @staticmethod
    def of(y0: Any) -> "StateLayout":
        """The layout of a nested state.

        Raises:
            ValueError: a leaf is no tensor, or not floating point or complex.
        """
        leaves, spec = pytree.tree_flatten(y0)
        if not leaves or not all(isinstance(x, Tensor) for x in leaves):
            kinds = ", ".join(sorted({type(x).__name__ for x in leaves})) or "nothing"
            raise ValueError(
                f"`y0` must be a tensor, or a tuple, list or dict of tensors, got {kinds}. Try "
                "torch.as_tensor() on its entries."
            )
        for x in leaves:
            if not (x.is_floating_point() or x.is_complex()):
                raise ValueError(
                    f"`y0` must be floating point or complex, got {x.dtype}. Try .float()."
                )
        sizes = {x.shape[0] if x.ndim else None for x in leaves}
        samples = len(sizes) == 1 and None not in sizes and any(x.ndim > 1 for x in leaves)
        return StateLayout(
            spec,
            tuple(x.shape for x in leaves),
            tuple(x.dtype for x in leaves),
            leaves[0].shape[0] if samples else None,
        )

    def pack(self, value: Any, rows: int | None = None) -> State:
        """One tensor of shape (batch, entries) or (entries,).

        Args:
            value: the state, or a slope.
            rows: samples that it holds; None for any number, the same in all its tensors.

        Raises:
            ValueError: it is not nested, or its tensors not of the shape and dtype, like y0.
        """
        leaves, spec = pytree.tree_flatten(value)
        if spec != self.spec or not self._fits(leaves, rows):
            raise ValueError(
                f"`vector_field` must return dy/dt nested and shaped like y0, {self}, got "
                f"{_outline(value)}. Try to return one slope for each entry of y0, in its order."
            )
        for x, dtype in zip(leaves, self.dtypes, strict=True):
            if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
                raise ValueError(
                    f"`vector_field` must return slopes of y0's dtypes, {dtype} among them, got "
                    f"{x.dtype} in its place. Try .to({dtype})."
                )
        dtype = self.dtype
        if self.batch is None:
            return torch.cat([x.reshape(-1).to(dtype) for x in leaves])
        return torch.cat([x.reshape(x.shape[0], -1).to(dtype) for x in leaves], 1)

    def unpack(self, packed: State, lead: int = 0) -> Any:
        """The nested state of a packed one, which may have `lead` dimensions in front."""
        sizes = [shape.numel() // (self.batch or 1) for shape in self.shapes]
        front, shapes = packed.shape[:lead], self.shapes
        if self.batch is not None:  # the packed state may hold some of the samples only
            shapes = [(packed.shape[lead], *shape[1:]) for shape in shapes]
        leaves = [
            _cast(part, dtype).reshape((*front, *shape))
            for part, shape, dtype in zip(packed.split(sizes, -1), shapes, self.dtypes, strict=True)
        ]
        return pytree.tree_unflatten(leaves, self.spec)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the packed state."""
        common = self.dtypes[0]
        for dtype in self.dtypes[1:]:
            common = torch.promote_types(common, dtype)
        return common

    def field(self, f: Callable[[Tensor, Any], Any]) -> Callable[[Tensor, State], State]:
        """A function of nested states as one of packed states."""
        return lambda t, y: self.pack(f(t, self.unpack(y)), y.shape[0])

    def _fits(self, leaves: list[Any], rows: int | None) -> bool:
        if not all(isinstance(x, Tensor) for x in leaves):
            return False
        if self.batch is None:
            return all(x.shape == shape for x, shape in zip(leaves, self.shapes, strict=True))
        if rows is None:
            rows = leaves[0].shape[0] if leaves[0].ndim else 0
        return all(x.shape == (rows, *s[1:]) for x, s in zip(leaves, self.shapes, strict=True))

    def __str__(self) -> str:
        """The shapes, nested as they are."""
        return str(pytree.tree_unflatten([tuple(shape) for shape in self.shapes], self.spec))


def _cast(x: State, dtype: torch.dtype) -> State:
    return x.real.to(dtype) if x.is_complex() and not dtype.is_complex else x.to(dtype)


def _outline(value: Any) -> str:
    shape = lambda x: tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
    return str(pytree.tree_map(shape, value))
