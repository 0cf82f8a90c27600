"""Crops and erasing of whole batches."""

import pytest
import torch

from odevision.data.geometric import ERASED_AREA, crop_boxes, erase, resized_crop, warp


def uniform(num: int, columns: int = 4) -> torch.Tensor:
    return torch.rand(num, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 60), (3, 3)])
def test_crops_lie_inside_and_have_areas_and_shapes_in_range(height, width) -> None:
    boxes = crop_boxes((0.2, 0.9), (0.8, 1.25), uniform(2000), height, width)
    left, top, right, bottom = boxes.unbind(1)
    assert left.min() >= 0 and top.min() >= 0
    assert right.max() <= width + 1e-4 and bottom.max() <= height + 1e-4
    widths, heights = right - left, bottom - top
    assert (widths > 0.99).all() and (heights > 0.99).all()
    assert (widths * heights).max() <= 0.9 * height * width + 1e-3
    if height == width == 32:
        ratios = widths / heights
        assert ratios.min() > 0.79 and ratios.max() < 1.26
        areas = widths * heights / (height * width)
        assert 0.19 < areas.min() < 0.22 and 0.87 < areas.max()
        assert abs(areas.mean().item() - 0.55) < 0.02


def test_a_crop_of_the_whole_image_is_the_image() -> None:
    images = torch.rand(5, 3, 9, 9)
    cropped = resized_crop(images, (1.0, 1.0), (1.0, 1.0), uniform(5))
    torch.testing.assert_close(cropped, images, atol=1e-5, rtol=1e-5)


def test_a_crop_shows_the_chosen_rectangle() -> None:
    # Each pixel holds its own place, so a linear ramp must come out as the ramp of the rectangle.
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = torch.stack([columns + 0.5, rows + 0.5]).expand(100, 2, 64, 64)
    cropped = resized_crop(images, (0.2, 0.6), (0.75, 4 / 3), uniform(100))
    left, top, right, bottom = crop_boxes((0.2, 0.6), (0.75, 4 / 3), uniform(100), 64, 64).unbind(1)
    torch.testing.assert_close(cropped[:, 0, 32, 31:33].mean(1), (left + right) / 2)
    torch.testing.assert_close(cropped[:, 1, 31:33, 32].mean(1), (top + bottom) / 2)
    # Neighboring pixels of the result are as far apart as the rectangle is magnified.
    torch.testing.assert_close(cropped[:, 0, 32, 40] - cropped[:, 0, 32, 24], (right - left) / 4)
    torch.testing.assert_close(cropped[:, 1, 40, 32] - cropped[:, 1, 24, 32], (bottom - top) / 4)


def test_erasing_blanks_one_rectangle_of_the_stated_area() -> None:
    images = torch.full((1000, 3, 32, 32), 9, dtype=torch.uint8)
    erased = erase(images, uniform(1000), [1.0, 2.0, 3.0])
    is_blank = erased == torch.tensor([1, 2, 3], dtype=torch.uint8).view(3, 1, 1)
    assert (erased[~is_blank] == 9).all()
    heights, widths = is_blank[:, 0].any(2).sum(1), is_blank[:, 0].any(1).sum(1)
    assert torch.equal(is_blank[:, 0].sum(dim=(1, 2)), heights * widths)
    shares = heights * widths / 32**2
    assert shares.min() > ERASED_AREA[0] / 2 and shares.max() < ERASED_AREA[1] * 1.1
    assert shares.max() > 0.28


def test_warp_by_the_identity_changes_nothing() -> None:
    images = torch.randint(0, 256, (4, 3, 7, 10), dtype=torch.uint8)
    matrices = torch.eye(2, 3).expand(4, 2, 3)
    assert torch.equal(warp(images, matrices), images)
