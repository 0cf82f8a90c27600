from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from odevision.data.image_set import ImageSet
from odevision.evaluation.examples import write_examples


@pytest.mark.parametrize("channels", [1, 3])
def test_a_written_image_has_the_same_pixels(channels: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, channels, 8, 8), dtype=torch.uint8, generator=generator)
    image_set = ImageSet(
        images=images,
        labels=torch.tensor([0, 1, 0]),
        class_names=("a/b", "c"),
        name="random",
        split="validation",
    )
    paths = write_examples(image_set, tmp_path / "examples", number=2)
    assert [path.name for path in paths] == ["0-true-a_b.png", "1-true-c.png"]
    for path, image in zip(paths, images, strict=False):
        with PIL.Image.open(path) as picture:
            pixels = np.asarray(picture).reshape(8, 8, channels)
        assert (pixels == image.permute(1, 2, 0).numpy()).all()
