"""Make the MNIST sample that ships with the package from the four official files.

usage: make_mnist_mini.py SOURCE TARGET

SOURCE holds train-images-idx3-ubyte.gz and the other three official files, plain or gzipped.
TARGET gets four files of the same names and format: 500 training and 100 test images of each digit,
drawn at random (seed 0) and kept in the official order. The output is the same in every run.
"""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import torch

from odevision.data.hashing import hash_indices
from odevision.data.idx import read_idx

IMAGES_PER_DIGIT = {"train": 500, "t10k": 100}


def main() -> None:
    """Read SOURCE, write TARGET."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for part, images_per_digit in IMAGES_PER_DIGIT.items():
        images = _read(source, f"{part}-images-idx3-ubyte")
        labels = _read(source, f"{part}-labels-idx1-ubyte")
        chosen = choose(labels, images_per_digit)
        _write(target / f"{part}-images-idx3-ubyte.gz", images[chosen])
        _write(target / f"{part}-labels-idx1-ubyte.gz", labels[chosen])


def choose(labels: np.ndarray, images_per_digit: int) -> np.ndarray:
    """Return sorted indices of `images_per_digit` images of each digit."""
    keys = hash_indices(torch.arange(len(labels)), seed=0).numpy()
    chosen = []
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        chosen.append(members[np.argsort(keys[members])][:images_per_digit])
    return np.sort(np.concatenate(chosen))


def _read(source: Path, name: str) -> np.ndarray:
    plain = source / name
    return read_idx(plain if plain.exists() else source / f"{name}.gz")


def _write(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    # mtime=0: gzip would note the time otherwise, and no two runs would agree.
    path.write_bytes(gzip.compress(header + values.tobytes(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()
