"""Random resized crops of pictures in their own resolution."""

import PIL.Image
import pytest
import torch

from odevision.data.augmentation import Augmentation
from odevision.data.geometric import crop_boxes
from odevision.data.random_crop import crop_picture


def ramp(width: int, height: int) -> PIL.Image.Image:
    """A picture whose red is the column and whose green is the row."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows, 0 * rows], dim=2).to(torch.uint8)
    return PIL.Image.fromarray(pixels.numpy())


@pytest.mark.parametrize("place", [0.0, 0.5, 0.9999999])
def test_the_crop_lies_where_the_numbers_say(place) -> None:
    augmentation = Augmentation(crop_scale=(0.25, 0.25), crop_ratio=(1.0, 1.0))
    uniform = torch.tensor([0.5, 0.5, place, place])
    cropped = crop_picture(ramp(200, 200), 50, augmentation, uniform)
    assert cropped.size == (50, 50) and cropped.mode == "RGB"
    first, last = cropped.getpixel((0, 0)), cropped.getpixel((49, 49))
    assert abs(first[0] - 100 * place) <= 2 and abs(first[1] - 100 * place) <= 2
    assert abs(last[0] - (100 * place + 99)) <= 2


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (333, 7)])
def test_pictures_of_every_shape_are_cropped(size) -> None:
    augmentation = Augmentation(crop_scale=(0.08, 1.0))
    generator = torch.Generator().manual_seed(0)
    for uniform in torch.rand(50, 4, generator=generator):
        assert crop_picture(ramp(*size), 16, augmentation, uniform).size == (16, 16)


@pytest.mark.parametrize(("width", "height"), [(300, 100), (100, 400), (640, 480), (1, 50)])
def test_crops_of_oblong_pictures_keep_the_ratio(width: int, height: int) -> None:
    uniform = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    low, high = 3 / 4, 4 / 3
    boxes = crop_boxes((0.3, 1.0), (low, high), uniform, height, width)
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes[:, :2] >= -1e-4).all()
    assert (boxes[:, 2] <= width + 1e-3).all() and (boxes[:, 3] <= height + 1e-3).all()
    ratios = widths / heights
    assert ratios.min() > low - 1e-4 and ratios.max() < high + 1e-4
    assert min(width, height) == 1 or ratios.max() - ratios.min() > 0.2


def test_gray_pictures_stay_gray() -> None:
    augmentation = Augmentation(crop_scale=(0.5, 1.0))
    gray = ramp(20, 30).convert("L")
    assert crop_picture(gray, 8, augmentation, torch.full((4,), 0.3)).mode == "L"
