"""Count what autograd keeps for a backward pass."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

_MARKS = "odevision starts"


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the memory behind tensors, each piece counted once."""
    pieces = {}
    for x in tensors:
        storage = x.untyped_storage()
        pieces[storage.data_ptr()] = storage.nbytes()
    return sum(pieces.values())


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the entries of tensors, each tensor counted once."""
    return sum({x.data_ptr(): x.nbytes for x in tensors}.values())


def mark_start(y0: Tensor) -> object:
    """Mark where a graph that is counted later begins, by what made y0."""
    mark = object()
    if y0.grad_fn is not None:
        metadata: Any = y0.grad_fn.metadata
        metadata.setdefault(_MARKS, []).append(mark)
    return mark


def graph_bytes(
    outputs: Iterable[Tensor], beside: Iterable[Tensor] = (), mark: object = None
) -> int:
    """Bytes that the graph behind `outputs` keeps, each piece of memory counted once.

    Reads the saved tensors off the graph's nodes, so nothing has to watch while it is recorded.
    What the leaves of the graph hold, such as parameters, lives anyway and does not count.

    Args:
        outputs: tensors with a graph.
        beside: tensors that live anyway; the graph ends at them.
        mark: of `mark_start`; the graph ends there too, where y0 is gone.

    Raises:
        RuntimeError: the graph was used up by a backward pass.
    """
    leaves = list(beside)
    stop = {x.grad_fn for x in leaves}  # what led to them is not of this graph
    pending: list[Any] = [x.grad_fn for x in outputs]
    seen, saved = stop - {None}, []
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if mark is not None and mark in node.metadata.get(_MARKS, ()):
            continue
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        saved += _saved(node)
        pending += [parent for parent, _ in node.next_functions]
    alive = {x.untyped_storage().data_ptr() for x in leaves}
    return storage_bytes(x for x in saved if x.untyped_storage().data_ptr() not in alive)


def _saved(node: object) -> list[Tensor]:
    """The tensors that a node keeps: PyTorch lists them as attributes `_saved_...`."""
    values = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
    values += [getattr(node, "saved_tensors", ())]  # of custom functions and compiled graphs
    flat = []
    for value in values:
        parts = value if isinstance(value, tuple | list) else (value,)
        flat += [x for x in parts if isinstance(x, Tensor)]
    return flat
