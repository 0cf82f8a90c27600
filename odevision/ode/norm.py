"""Error norms: from a scaled error, of any shape, to one number."""

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
    if x.ndim < 2 or x.shape[0] == 1:
        return rms_norm(x)
    per_sample = torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)))
    return per_sample.max() / max(x[0].numel(), 1) ** 0.5
