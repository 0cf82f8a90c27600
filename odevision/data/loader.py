"""Batches of normalized, augmented images on the device, in an order that resumes exactly."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from odevision.data.augmentation import Augmentation, augment
from odevision.data.epochs import Epochs
from odevision.data.hashing import hash_integer
from odevision.data.image import ImageReadError, read_image
from odevision.data.image_set import ImageSet
from odevision.data.preprocessing import Preprocessing
from odevision.data.random_crop import crop_picture

_AUGMENTATION, _CROP = 1, 2  # Keep the uses of a seed apart; `Epochs` has 0.


class BatchLoader:
    """Serves an `ImageSet` batch by batch.

    The order of epoch e depends on (seed, e) only, the augmentation of its batch b on (seed, e, b)
    only. So whoever knows the epoch and the batch can go on exactly, with no other state kept.

    A set in memory is moved to the device once, as uint8, and augmented and normalized there. One
    of files is read by worker processes and augmented on the device likewise, but that a random
    resized crop is cut in the worker, out of the file's own resolution.
    """

    def __init__(
        self,
        image_set: ImageSet,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        device: torch.device | str,
        augmentation: Augmentation | None = None,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        """Check the arguments and move a set that is in memory to the device.

        Args:
            image_set: What to serve; images in memory must have the size and channels of
                `preprocessing`.
            preprocessing: Reads files, and normalizes.
            batch_size: Images a batch.
            device: Where batches appear.
            augmentation: Random changes; None for validation and test.
            shuffle: Whether each epoch has an order of its own; else it is that of `image_set`.
            seed: Of order and augmentation.
            drop_last: Whether to leave out an incomplete last batch.
            num_workers: Processes that read files; 0 reads them in this one. Unused for images in
                memory.

        Raises:
            ValueError: If the arguments do not fit each other.
        """
        epochs = Epochs(
            len(image_set),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            kind="images",
        )
        if num_workers < 0:
            raise ValueError(f"`num_workers` must be 0 or more, got {num_workers}.")
        if len(image_set) == 0:
            raise ValueError("`image_set` must have images, got an empty one.")
        shape = (preprocessing.num_channels, preprocessing.image_size, preprocessing.image_size)
        if image_set.images is not None and image_set.images.shape[1:] != shape:
            raise ValueError(
                f"`image_set` must have images of shape {shape}, which `preprocessing` states, got "
                f"{tuple(image_set.images.shape[1:])}. Try load_split(..., preprocessing=...)."
            )
        if augmentation is not None:
            augmentation.check_images(*shape)
        self.image_set = image_set
        self.preprocessing = preprocessing
        self.epochs = epochs
        self.device = torch.device(device)
        self.augmentation = augmentation
        self.seed = seed
        self.num_workers = num_workers
        self._labels = image_set.labels.to(self.device)
        self._images = None if image_set.images is None else image_set.images.to(self.device)

    @property
    def num_samples(self) -> int:
        """Images to serve."""
        return len(self.image_set)

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        return len(self.epochs)

    def order(self, epoch: int) -> Int64[Tensor, " num"]:
        """Return the order of the images in an epoch, as indices into the set, on the CPU.

        Args:
            epoch: Counted from 0.
        """
        return self.epochs.order(epoch)

    def epoch(
        self, epoch: int, start_batch: int = 0
    ) -> Iterator[tuple[Float32[Tensor, "batch channels height width"], Int64[Tensor, " batch"]]]:
        """Serve the batches of an epoch.

        Args:
            epoch: Counted from 0.
            start_batch: First batch to serve, counted from 0; the earlier ones cost nothing.

        Returns:
            An iterator over normalized images and labels, both on the device.

        Raises:
            ValueError: If there is no such epoch or batch.
        """
        return self._serve(epoch, start_batch, self.epochs.batches(epoch, start_batch))

    def _serve(
        self, epoch: int, start_batch: int, batches: list[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        augmentation = self.augmentation
        if self._images is not None:
            raw = self._from_memory(batches)
        else:
            keys = [
                hash_integer(self.seed, epoch, _CROP, batch)
                for batch in range(start_batch, start_batch + len(batches))
            ]
            raw = self._from_files(batches, keys)
            if augmentation is not None:  # The workers have cropped already.
                augmentation = dataclasses.replace(augmentation, crop_scale=None)
        for batch, (indices, images) in enumerate(raw, start=start_batch):
            if augmentation is not None:
                key = hash_integer(self.seed, epoch, _AUGMENTATION, batch)
                images = augment(
                    images,
                    augmentation,
                    torch.Generator().manual_seed(key),
                    epoch,
                    indices,
                    seed=self.seed,
                    fill=[255 * mean for mean in self.preprocessing.mean],
                )
            yield self.preprocessing.normalize(images), self._labels.index_select(0, indices)

    def _from_memory(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        assert self._images is not None
        for indices in batches:
            indices = indices.to(self.device, non_blocking=True)
            yield indices, self._images.index_select(0, indices)

    def _from_files(
        self, batches: list[Tensor], keys: list[int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        assert self.image_set.paths is not None
        reader = DataLoader(
            _ImageFiles(self.image_set.paths, self.preprocessing, self.augmentation),
            sampler=[(indices.tolist(), key) for indices, key in zip(batches, keys, strict=True)],
            batch_size=None,  # The sampler's entries are whole batches already.
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
            # Without a generator of its own it would draw from the global one at each epoch.
            generator=torch.Generator().manual_seed(0),
        )
        for indices, images in zip(batches, reader, strict=True):
            if isinstance(images, ImageReadError):
                raise images
            yield (
                indices.to(self.device, non_blocking=True),
                images.to(self.device, non_blocking=True),
            )


class _ImageFiles(Dataset):
    """Reads batches of files; runs in the worker processes."""

    def __init__(
        self,
        paths: tuple[Path, ...],
        preprocessing: Preprocessing,
        augmentation: Augmentation | None,
    ) -> None:
        self.paths = paths
        self.preprocessing = preprocessing
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(
        self, batch: tuple[list[int], int]
    ) -> UInt8[Tensor, "batch channels height width"] | ImageReadError:
        indices, key = batch
        try:
            if self.augmentation is None or self.augmentation.crop_scale is None:
                images = [self.preprocessing.to_uint8(read_image(self.paths[i])) for i in indices]
            else:
                images = self._cropped(indices, key, self.augmentation)
        except ImageReadError as error:
            # Returned, not raised: torch would wrap what a worker raises in a traceback as text.
            return error
        return torch.stack(images)

    def _cropped(
        self, indices: list[int], key: int, augmentation: Augmentation
    ) -> list[UInt8[Tensor, "channels height width"]]:
        uniform = torch.rand(len(indices), 4, generator=torch.Generator().manual_seed(key))
        return [
            self.preprocessing.to_uint8(
                crop_picture(
                    read_image(self.paths[index]),
                    self.preprocessing.image_size,
                    augmentation,
                    uniform[position],
                )
            )
            for position, index in enumerate(indices)
        ]
