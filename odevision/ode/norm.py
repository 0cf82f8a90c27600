"""Error norms: from a scaled error, of any shape, to one number."""

from collections.abc import Callable

import torch

from odevision.types import Scalar, State


def rms_norm(x: State) -> Scalar:
    """Root mean square over all entries.

    A hard sample hides among many easy ones here: with one in 64 its error can grow eightfold.
    """
    return torch.linalg.vector_norm(x) / max(x.numel(), 1) ** 0.5


def max_norm(x: State) -> Scalar:
    """Largest absolute entry."""
    return torch.linalg.vector_norm(x, ord=float("inf"))


def worst_sample_norm(x: State) -> Scalar:
    """Largest root mean square of a sample, max_i rms(x_i), the default.

    Dimension 0 counts the samples where x has two or more dimensions; otherwise x is one sample.
    No sample's error depends on its neighbors then.
    """
    return _worst_root(x) / max(_entries(x), 1) ** 0.5


def split_norm(
    norm: Callable[[State], Scalar], x: State
) -> tuple[Callable[[State], Scalar], float]:
    """A norm of tensors like x as a function, and a divisor that the host can take over."""
    if norm is worst_sample_norm:
        return _worst_root, max(_entries(x), 1) ** 0.5
    if norm is rms_norm:
        return torch.linalg.vector_norm, max(x.numel(), 1) ** 0.5
    return norm, 1.0


def _worst_root(x: State) -> Scalar:
    if _entries(x) == x.numel():
        return torch.linalg.vector_norm(x)
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim))).max()


def _entries(x: State) -> int:
    """Entries of a sample."""
    return x.numel() if x.ndim < 2 else x.numel() // max(x.shape[0], 1)
