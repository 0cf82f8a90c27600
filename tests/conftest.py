"""What tests of several folders share."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def idx_bytes(values: np.ndarray) -> bytes:
    """Return an array of unsigned bytes in the idx format."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the full public data sets, for the tests that check against them."""
    stated = os.environ.get("ODEVISION_TEST_DATA", "")
    folder = Path(stated)
    if not stated or not folder.is_dir():
        pytest.skip("needs the full data sets: set ODEVISION_TEST_DATA to the folder that has them")
    return folder


@pytest.fixture
def write_mnist() -> Callable[..., dict[str, np.ndarray]]:
    """A function that writes 40 training and 20 test digits and returns the arrays by stem."""

    def write(folder: Path, *, compress: bool, only: str = "") -> dict[str, np.ndarray]:
        generator = np.random.default_rng(0)
        arrays = {}
        folder.mkdir(parents=True, exist_ok=True)
        for part, num in (("train", 40), ("t10k", 20)):
            arrays[f"{part}-images-idx3"] = generator.integers(0, 256, (num, 28, 28), np.uint8)
            arrays[f"{part}-labels-idx1"] = np.arange(num, dtype=np.uint8) % 10
        for stem, values in arrays.items():
            if stem.startswith(only):
                content = idx_bytes(values)
                name = f"{stem}-ubyte" + (".gz" if compress else "")
                (folder / name).write_bytes(gzip.compress(content) if compress else content)
        return arrays

    return write
