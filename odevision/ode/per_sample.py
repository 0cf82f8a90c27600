"""PerSample: marks arguments of f that hold one entry a sample."""

from typing import Any, NamedTuple

from jaxtyping import Int64
from torch import Tensor
from torch.utils import _pytree as pytree


class PerSample(NamedTuple):
    """An argument whose tensors hold one entry a sample along dimension 0.

    Under `batch="independent"` f receives only the samples that still run, and of such an argument
    the same entries: `args=(PerSample(rates), weight)` calls f(t, y, rates of these samples,
    weight). Under `batch="joint"` f receives it whole. Arguments are not guessed to be of this kind
    from their shape: a matrix of shape (64, 64) may be one for all of 64 samples.

    A NamedTuple, so that whatever walks through containers finds the tensors.

    Attributes:
        value: a tensor, or tensors in nested containers.
    """

    value: Any


def select_samples(args: Any, samples: Int64[Tensor, " rows"] | None) -> Any:
    """The arguments as f receives them: of each `PerSample` the given samples, or None for all."""
    if type(args) is tuple and samples is None and all(isinstance(x, Tensor) for x in args):
        return args  # no walk through containers, which takes as long as a small f

    def pick(part: Any) -> Any:
        return part if samples is None else part.index_select(0, samples)

    def select(x: Any) -> Any:
        return pytree.tree_map_only(Tensor, pick, x.value) if isinstance(x, PerSample) else x

    return pytree.tree_map(select, args, is_leaf=_is_per_sample)


def per_sample_tensors(args: Any) -> list[Tensor]:
    """The tensors inside of every `PerSample`."""
    marked = [x for x in pytree.tree_leaves(args, is_leaf=_is_per_sample) if _is_per_sample(x)]
    return [x for x in pytree.tree_leaves(marked) if isinstance(x, Tensor)]


def _is_per_sample(x: Any) -> bool:
    return isinstance(x, PerSample)
