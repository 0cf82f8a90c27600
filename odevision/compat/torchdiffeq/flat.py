"""FlatState: a tuple of tensors as one flat tensor, in the layout that torchdiffeq hands out.

Norms and grid constructors of existing programs see this layout; `odevision.ode.state` keeps
samples apart and is no replacement here.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from odevision.types import State


@dataclasses.dataclass(frozen=True)
class FlatState:
    """Where each tensor of a tuple lies in the flat one.

    Attributes:
        shapes: shapes of the tensors.
        dtypes: their dtypes; the flat tensor has the one that holds them all.
    """

    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]

    @staticmethod
    def of(state: Sequence[Tensor]) -> "FlatState":
        """The layout of a tuple."""
        return FlatState(tuple(x.shape for x in state), tuple(x.dtype for x in state))

    @property
    def dtype(self) -> torch.dtype:
        """The common dtype."""
        common = self.dtypes[0]
        for dtype in self.dtypes[1:]:
            common = torch.promote_types(common, dtype)
        return common

    def pack(self, state: Iterable[Tensor]) -> State:
        """One tensor of shape (entries,).

        Raises:
            ValueError: there are more or fewer tensors than in y0, or one has another size.
        """
        parts = tuple(state)
        sizes = [x.numel() for x in parts]
        if sizes != [shape.numel() for shape in self.shapes]:
            raise ValueError(
                f"`func` must return one slope for each tensor of `y0`, of the shapes "
                f"{[tuple(shape) for shape in self.shapes]}, got "
                f"{[tuple(x.shape) for x in parts]}. Try to return them in the order of `y0`."
            )
        return torch.cat([x.reshape(-1).to(self.dtype) for x in parts])

    def unpack(self, flat: State) -> tuple[Tensor, ...]:
        """The tuple of a flat tensor, which may have dimensions in front."""
        sizes = [shape.numel() for shape in self.shapes]
        parts = zip(flat.split(sizes, -1), self.shapes, self.dtypes, strict=True)
        return tuple(_cast(x.reshape((*flat.shape[:-1], *s)), dtype) for x, s, dtype in parts)


def _cast(x: State, dtype: torch.dtype) -> State:
    return x.real.to(dtype) if x.is_complex() and not dtype.is_complex else x.to(dtype)
