"""Callbacks: methods of f that a solve tells about its steps, in torchdiffeq's form."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from odevision.compat.torchdiffeq.flat import FlatState
from odevision.types import State

_NAMES = {
    "attempt": "callback_step",
    "accept": "callback_accept_step",
    "reject": "callback_reject_step",
}


@dataclasses.dataclass(frozen=True)
class Callbacks:
    """What f wants to hear.

    Attributes:
        by_kind: the callables, by the engine's word for what happened.
        flat: the layout of a tuple state, which they get as a tuple.
    """

    by_kind: Mapping[str, Callable[..., Any]]
    flat: FlatState | None

    @staticmethod
    def of(
        func: Callable[..., Any], flat: FlatState | None, valid: frozenset[str], method: str
    ) -> "Callbacks":
        """Those that f has, with a warning for those that the method never calls."""
        found = {kind: getattr(func, name, None) for kind, name in _NAMES.items()}
        unused = sorted(name for kind, name in _NAMES.items() if found[kind] and name not in valid)
        if unused:
            warnings.warn(f"method {method!r} never calls {', '.join(unused)}.", stacklevel=4)
        by_kind = {
            kind: callback
            for kind, callback in found.items()
            if callback is not None and _NAMES[kind] in valid
        }
        return Callbacks(by_kind, flat)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.by_kind)

    def __call__(self, kind: str, t0: float, y0: State, dt: float) -> None:
        """Tell about one step; as in torchdiffeq dt counts its length, in either direction."""
        callback = self.by_kind.get(kind)
        if callback is None:
            return
        clock = torch.tensor([t0, abs(dt)], dtype=torch.float64, device=y0.device)
        state = y0 if self.flat is None else self.flat.unpack(y0)
        callback(clock[0], state, clock[1])


def adjoint_callbacks(func: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """F's callbacks for the backward solve, under the names that a forward solve looks for."""
    found = {name: getattr(func, f"{name}_adjoint", None) for name in _NAMES.values()}
    return {name: callback for name, callback in found.items() if callback is not None}
