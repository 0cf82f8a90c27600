"""Batches of normalized, augmented clips on the device, in an order that resumes exactly."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Int64
from torch import Tensor

from odevision.data.clip_augmentation import ClipAugmentation, augment_clips
from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.clip_sampling import ClipSampling, sample_clip
from odevision.data.clip_source import ClipSource
from odevision.data.epochs import Epochs
from odevision.data.hashing import hash_integer
from odevision.types import Clips

_AUGMENTATION, _SAMPLING = 1, 2  # Keep the uses of a seed apart; `Epochs` has 0.


class ClipLoader:
    """Serves a `ClipSource` batch by batch, as `BatchLoader` does images.

    Which frames a clip has depends on (seed, epoch, video) only, its augmentation on (seed, epoch,
    batch). So whoever knows the epoch and the batch can go on exactly, with no other state kept.
    """

    def __init__(
        self,
        source: ClipSource | Callable[[int], ClipSource],
        preprocessing: ClipPreprocessing,
        *,
        sampling: ClipSampling,
        batch_size: int,
        device: torch.device | str,
        augmentation: ClipAugmentation | None = None,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
    ) -> None:
        """Check the arguments.

        Args:
            source: What to serve, at the frame size of `preprocessing`; or as a function of the
                epoch, counted from 0, where epochs have clips of their own, always as many.
            preprocessing: Normalizes.
            sampling: Which frames of a video make a clip.
            batch_size: Clips a batch.
            device: Where batches appear.
            augmentation: Random changes; None for validation and test.
            shuffle: Whether each epoch has an order and frames of its own; else the order is that
                of `source`, and the clip is the same in every epoch.
            seed: Of order, frames and augmentation.
            drop_last: Whether to leave out an incomplete last batch.

        Raises:
            ValueError: If the arguments do not fit each other.
        """
        self._source_of = (lambda epoch: source) if isinstance(source, ClipSource) else source
        self.source = self._source_of(0)
        epochs = Epochs(
            len(self.source),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            kind="videos",
        )
        if len(self.source) == 0:
            raise ValueError("`source` must have videos, got an empty one.")
        if augmentation is not None:
            augmentation.check_frames(*preprocessing.size)
        self.preprocessing = preprocessing
        self.sampling = sampling
        self.epochs = epochs
        self.device = torch.device(device)
        self.augmentation = augmentation
        self.shuffle = shuffle
        self.seed = seed

    @property
    def num_samples(self) -> int:
        """Videos to serve."""
        return len(self.source)

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        return len(self.epochs)

    def order(self, epoch: int) -> Int64[Tensor, " num"]:
        """Return the order of the videos in an epoch, as indices into the source.

        Args:
            epoch: Counted from 0.
        """
        return self.epochs.order(epoch)

    def epoch(
        self, epoch: int, start_batch: int = 0
    ) -> Iterator[tuple[Clips, Int64[Tensor, " batch"]]]:
        """Serve the batches of an epoch.

        Args:
            epoch: Counted from 0.
            start_batch: First batch to serve, counted from 0; the earlier ones cost nothing.

        Returns:
            An iterator over normalized clips and labels, both on the device.

        Raises:
            ValueError: If there is no such epoch or batch.
        """
        return self._serve(epoch, start_batch, self.epochs.batches(epoch, start_batch))

    def _serve(
        self, epoch: int, start_batch: int, batches: list[Tensor]
    ) -> Iterator[tuple[Clips, Tensor]]:
        source = self._source_of(epoch)
        for batch, indices in enumerate(batches, start=start_batch):
            frames, seconds, mask = self._clips(source, indices.tolist(), epoch)
            frames = frames.to(self.device, non_blocking=True)
            if self.augmentation is not None:
                key = hash_integer(self.seed, epoch, _AUGMENTATION, batch)
                red, green, blue = self.preprocessing.mean
                frames = augment_clips(
                    frames,
                    self.augmentation,
                    torch.Generator().manual_seed(key),
                    fill=(255 * red, 255 * green, 255 * blue),
                )
            clips = Clips(
                frames=self.preprocessing.normalize(frames),
                seconds=seconds.to(self.device, non_blocking=True),
                mask=mask.to(self.device, non_blocking=True),
            )
            labels = source.labels[indices].to(self.device, non_blocking=True)
            yield clips, labels

    def _runs_backwards(self, generator: torch.Generator) -> bool:
        share = 0.0 if self.augmentation is None else self.augmentation.reverse
        return share > 0 and float(torch.rand((), generator=generator)) < share

    def _clips(
        self, source: ClipSource, indices: list[int], epoch: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The frames of some videos, padded to the longest, with their times and the mask."""
        parts, times = [], []
        for index in indices:
            generator = None
            if self.shuffle:
                key = hash_integer(self.seed, epoch, _SAMPLING, index)
                generator = torch.Generator().manual_seed(key)
            seconds = source.seconds(index)
            chosen = sample_clip(seconds, self.sampling, generator)
            frames, at = source.frames(index, chosen), seconds[chosen]
            if generator is not None and self._runs_backwards(generator):
                frames, at = frames.flip(0), -at.flip(0)
            parts.append(frames)
            times.append((at - at[0]).float())
        most = max(map(len, times))
        # A padded frame repeats the last one, which the networks do not look at.
        at = [torch.arange(most).clamp(max=len(one) - 1) for one in times]
        frames = torch.stack([one[rows] for one, rows in zip(parts, at, strict=True)])
        seconds = torch.stack([one[rows] for one, rows in zip(times, at, strict=True)])
        mask = torch.arange(most) < torch.tensor([len(one) for one in times])[:, None]
        return frames, seconds, mask
