"""Small data sets in the official layouts, made on the fly."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest


def photo(seed: int = 0, size: tuple[int, int] = (48, 32)) -> PIL.Image.Image:
    """Return a smooth random RGB picture of `size` = (width, height)."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return PIL.Image.fromarray(noise).resize(size, PIL.Image.Resampling.BICUBIC)


@pytest.fixture
def write_cifar() -> Callable[..., dict[str, tuple[np.ndarray, np.ndarray]]]:
    """A function that writes a tiny CIFAR; it returns images and labels of train and test."""

    def write(
        folder: Path, *, kind: str, num_classes: int
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(1)
        is_small = num_classes == 10
        batches = {f"data_batch_{i}": 20 for i in range(1, 6)} if is_small else {"train": 200}
        tests = {"test_batch": 20} if is_small else {"test": 100}
        parts: dict[str, list] = {"train": [], "test": []}
        for name, num in (batches | tests).items():
            images = generator.integers(0, 256, (num, 3072), dtype=np.uint8)
            labels = np.arange(num) % num_classes
            parts["test" if name in tests else "train"].append((images, labels))
            if kind == "bin":
                columns = [labels.astype(np.uint8)[:, None], images]
                columns = columns if is_small else [columns[0] // 5, *columns]
                np.concatenate(columns, axis=1).tofile(folder / f"{name}.bin")
            else:
                key = "labels" if is_small else "fine_labels"
                content = {b"data": images, key.encode(): labels.tolist(), b"filenames": [b"x.png"]}
                (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return {
            split: (
                np.concatenate([images for images, _ in lists]).reshape(-1, 3, 32, 32),
                np.concatenate([labels for _, labels in lists]),
            )
            for split, lists in parts.items()
        }

    return write


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """An image folder: classes cat and dog, ten photos each to train on and two each to test on."""
    root = tmp_path / "pets"
    for split, num in (("train", 10), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for i in range(num):
                seed = 100 * label + i + (50 if split == "test" else 0)
                photo(seed).save(root / split / name / f"{i:02}.png")
    return root
