"""The order of a set in each epoch and its cut into batches: a function of seed and epoch alone."""

import torch
from jaxtyping import Int64
from torch import Tensor

from odevision.data.hashing import hash_integer

_ORDER = 0  # Keeps this use of a seed apart from those of the loaders, from 1 on.


class Epochs:
    """Which samples make which batch of which epoch.

    Args:
        num_samples: Samples of the set.
        batch_size: Samples a batch, at least 1.
        shuffle: Whether each epoch has an order of its own; else it is that of the set.
        seed: Of the order.
        drop_last: Whether to leave out an incomplete last batch.
        kind: What the samples are, for messages.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        drop_last: bool,
        kind: str,
    ) -> None:
        """Check the sizes.

        Raises:
            ValueError: If `batch_size` is out of range.
        """
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        if drop_last and 0 < num_samples < batch_size:
            raise ValueError(
                f"`batch_size` must be at most the number of {kind} ({num_samples}), "
                f"got {batch_size}."
            )
        self.num_samples, self.batch_size = num_samples, batch_size
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        whole, rest = divmod(self.num_samples, self.batch_size)
        return whole if self.drop_last or rest == 0 else whole + 1

    def order(self, epoch: int) -> Int64[Tensor, " num"]:
        """Return the order of the samples in an epoch, as indices into the set, on the CPU."""
        if not self.shuffle:
            return torch.arange(self.num_samples)
        generator = torch.Generator().manual_seed(hash_integer(self.seed, epoch, _ORDER))
        return torch.randperm(self.num_samples, generator=generator)

    def batches(self, epoch: int, start_batch: int) -> list[Int64[Tensor, " batch"]]:
        """Return the indices of each batch of an epoch, from `start_batch` on.

        Raises:
            ValueError: If there is no such epoch or batch.
        """
        if epoch < 0:
            raise ValueError(f"`epoch` must be 0 or more, got {epoch}.")
        if not 0 <= start_batch <= len(self):
            raise ValueError(f"`start_batch` must be 0 to {len(self)}, got {start_batch}.")
        return list(self.order(epoch).split(self.batch_size))[start_batch : len(self)]
