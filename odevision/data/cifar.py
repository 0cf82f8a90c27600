"""The official CIFAR-10 and CIFAR-100 files: Python pickles and binary records."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

IMAGE_SHAPE = (3, 32, 32)
"""Channels, height and width of a CIFAR image; files store it in this order."""

_IMAGE_BYTES = 3 * 32 * 32


def read_python(
    paths: Sequence[Path], *, label_key: Literal["labels", "fine_labels"], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read batches in the Python layout (`data_batch_1`, `train`, ...).

    The files are pickles, which can run code when loaded; these are loaded with everything refused
    but numpy arrays and plain values.

    Args:
        paths: Files to concatenate.
        label_key: "labels" (CIFAR-10) or "fine_labels" (CIFAR-100, the 100 classes).
        num_classes: Labels must be below this number.

    Returns:
        Images, uint8 of shape (num, 3, 32, 32), and labels, int64 of shape (num,).

    Raises:
        ValueError: If a file is truncated, corrupt, or holds anything else.
    """
    images, labels = [], []
    for path in paths:
        batch = _load_pickle(path)
        data, label = batch.get("data"), batch.get(label_key)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or label is None:
            raise ValueError(f"{path}: no CIFAR batch: it lacks `data` or `{label_key}`. {_REMEDY}")
        if data.ndim != 2 or data.shape != (len(label), _IMAGE_BYTES):
            raise ValueError(
                f"{path}: `data` of shape {data.shape} does not fit {len(label)} labels and "
                f"{_IMAGE_BYTES} bytes an image. {_REMEDY}"
            )
        images.append(data.reshape(-1, *IMAGE_SHAPE))
        labels.append(_checked_labels(path, np.asarray(label, np.int64), num_classes))
    return np.concatenate(images), np.concatenate(labels)


def read_binary(
    paths: Sequence[Path], *, label_bytes: Literal[1, 2], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read batches in the binary layout (`data_batch_1.bin`, `train.bin`, ...).

    A record is its label bytes, then 3,072 pixel bytes: red, green, blue planes, row-major.

    Args:
        paths: Files to concatenate.
        label_bytes: 1 (CIFAR-10) or 2 (CIFAR-100: coarse and fine label; the fine one is used).
        num_classes: Labels must be below this number.

    Returns:
        Images, uint8 of shape (num, 3, 32, 32), and labels, int64 of shape (num,).

    Raises:
        ValueError: If a file is not a whole number of such records.
    """
    images, labels = [], []
    record_bytes = label_bytes + _IMAGE_BYTES
    for path in paths:
        content = np.fromfile(path, np.uint8)
        if content.size == 0 or content.size % record_bytes:
            raise ValueError(
                f"{path}: {content.size:,} bytes are no whole number of records of "
                f"{record_bytes} bytes; the file is truncated or corrupt. {_REMEDY}"
            )
        records = content.reshape(-1, record_bytes)
        images.append(records[:, label_bytes:].reshape(-1, *IMAGE_SHAPE))
        label = records[:, label_bytes - 1].astype(np.int64)
        labels.append(_checked_labels(path, label, num_classes))
    return np.concatenate(images), np.concatenate(labels)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays, strings, bytes, numbers and containers of them, nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: D102
        # numpy's own names for this function moved between versions; an array states it.
        reconstruct: Any = np.empty(0).__reduce__()[0]
        allowed: dict[tuple[str, str], Any] = {
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")
        return allowed[module, name]


def _load_pickle(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            # latin1: Python 2 wrote these files, with arrays' bytes inside its strings.
            batch = _ArrayUnpickler(file, encoding="latin1").load()
    except OSError:
        raise
    except Exception as error:  # Damaged pickles fail with nearly any exception.
        raise ValueError(f"{path}: truncated or corrupt CIFAR file ({error}). {_REMEDY}") from error
    if not isinstance(batch, dict):
        raise ValueError(f"{path}: no CIFAR batch: it holds a {type(batch).__name__}. {_REMEDY}")
    return {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in batch.items()}


def _checked_labels(path: Path, labels: np.ndarray, num_classes: int) -> np.ndarray:
    if labels.size and not (0 <= labels.min() and labels.max() < num_classes):
        raise ValueError(f"{path}: labels must be 0 to {num_classes - 1}, got {labels.max()}.")
    return labels


_REMEDY = "Try fetching and unpacking the file again."
