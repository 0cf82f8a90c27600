"""Measure the memory that a solve takes for its backward pass.

What lives anyway does not count: weights, the input and the output of the solve, dL/dy1. On CUDA
the numbers are the allocator's, so that working memory and the gradients themselves are among them.
Elsewhere saved tensors are counted as autograd packs and frees them, in the forward pass and in the
steps that the backward pass makes again, plus the states that the gradient keeps; working memory
such as a solver's stages comes on top there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from odevision.types import State


class SavedBytes:
    """Counts what autograd keeps, each piece of memory once and only while it is kept."""

    def __init__(self, alive: Sequence[Tensor]) -> None:
        """Begin at nothing.

        Args:
            alive: tensors that live anyway.
        """
        self.alive = {x.untyped_storage().data_ptr() for x in alive}
        self.pieces: dict[int, int] = {}  # how often each piece is kept
        self.live = self.held = self.peak = 0

    def __enter__(self) -> None:
        """Watch autograd."""
        self.hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda x: _Kept(self, x), lambda kept: kept.value
        )
        self.hooks.__enter__()

    def __exit__(self, *error: object) -> None:
        """Look away."""
        self.hooks.__exit__(*error)

    def add(self, x: Tensor) -> None:
        """A tensor is kept."""
        storage = x.untyped_storage()
        piece = storage.data_ptr()
        if piece not in self.alive:
            self.pieces[piece] = self.pieces.get(piece, 0) + 1
            if self.pieces[piece] == 1:
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)

    def remove(self, x: Tensor) -> None:
        """A tensor that was kept is let go."""
        storage = x.untyped_storage()
        piece = storage.data_ptr()
        if piece in self.pieces:
            self.pieces[piece] -= 1
            if not self.pieces[piece]:
                del self.pieces[piece]
                self.live -= storage.nbytes()

    def between(self, y1: State, states: int) -> None:
        """The forward pass is over, the backward pass follows."""
        storage = y1.untyped_storage()
        self.alive.add(storage.data_ptr())
        if self.pieces.pop(storage.data_ptr(), 0):
            self.live -= storage.nbytes()
            self.peak = max(self.live, self.peak - storage.nbytes())
        self.held = self.live + states

    def result(self, y1: State, states: int) -> tuple[int, int]:
        """Bytes held between both passes, and the most at any time."""
        del y1
        return self.held, self.peak + states


class _Kept:
    """A tensor in autograd's keeping."""

    def __init__(self, count: SavedBytes, value: Tensor) -> None:
        # Detached: an output in the keeping of the node that made it would keep that node for good.
        self.count, self.value = count, value.detach()
        count.add(value)

    def __del__(self) -> None:
        self.count.remove(self.value)


class AllocatedBytes:
    """Reads the CUDA allocator."""

    def __init__(self, device: torch.device) -> None:
        """Nothing is read yet."""
        self.device, self.before, self.held = device, 0, 0

    def __enter__(self) -> None:
        """Begin at what is allocated now."""
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        self.before = torch.cuda.memory_allocated(self.device)

    def __exit__(self, *error: object) -> None:
        """Wait for what was begun."""
        torch.cuda.synchronize(self.device)

    def between(self, y1: State, states: int) -> None:
        """The forward pass is over, the backward pass follows."""
        del states
        self.held = torch.cuda.memory_allocated(self.device) - self.before - y1.nbytes

    def result(self, y1: State, states: int) -> tuple[int, int]:
        """Bytes held between both passes, and the most at any time."""
        del states
        peak = torch.cuda.max_memory_allocated(self.device) - self.before - y1.nbytes
        return self.held, max(self.held, peak)


Meter = SavedBytes | AllocatedBytes
"""A context around both passes; `between` is called between them, `result` behind.

Both are told the output and the bytes of the states that the gradient keeps beside a graph.
"""


def meter_for(alive: Sequence[Tensor]) -> Meter:
    """What measures on the device of some tensors, which live anyway."""
    device = alive[0].device
    return AllocatedBytes(device) if device.type == "cuda" else SavedBytes(alive)
