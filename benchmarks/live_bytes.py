"""LiveBytes: the most bytes of tensors that live at once, measured, not estimated."""

import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """Counts the memory of all tensors that operations make while it is active.

    Args:
        alive: tensors that live anyway; views of them do not count.
    """

    def __init__(self, alive: Sequence[Tensor] = ()) -> None:
        """Begin at nothing."""
        super().__init__()
        self.now = self.most = 0
        # Kept, so that no other piece of memory comes to have the same address.
        self._alive = [x.untyped_storage() for x in alive]
        self._seen = {storage.data_ptr() for storage in self._alive}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        result = func(*args, **(kwargs or {}))
        for x in pytree.tree_leaves(result):
            if isinstance(x, Tensor):
                self._add(x)
        return result

    def _add(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        address = storage.data_ptr()
        if address in self._seen or not address:
            return
        size = storage.nbytes()
        self._seen.add(address)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._remove, address, size)

    def _remove(self, address: int, size: int) -> None:
        self._seen.discard(address)
        self.now -= size
