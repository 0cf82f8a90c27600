import numpy as np
import PIL.Image
import pytest
import torch

from odevision.data.crops import MAX_CROPS, square_boxes
from odevision.data.preprocessing import Preprocessing

COLOR = Preprocessing(image_size=32, num_channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
GRAY = Preprocessing(image_size=28, num_channels=1, mean=(0.13,), std=(0.3,), bright_on_dark=True)


def photo(width: int, height: int) -> PIL.Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(32, 32), (500, 375), (375, 500), (64, 64), (33, 90)])
@pytest.mark.parametrize("num", [None, 1, 2, 6, MAX_CROPS])
def test_boxes_are_squares_inside_the_photo_and_differ(
    size: tuple[int, int], num: int | None
) -> None:
    boxes = square_boxes(*size, num=num, image_size=32)
    assert len(set(boxes)) == len(boxes) <= (num or MAX_CROPS)
    for left, top, right, bottom in boxes:
        assert right - left == pytest.approx(bottom - top)
        assert min(left, top) >= 0
        assert right <= size[0] + 1e-9
        assert bottom <= size[1] + 1e-9


def test_the_first_box_is_the_largest_centered_square() -> None:
    assert square_boxes(500, 300, num=1, image_size=32) == [(100, 0, 400, 300)]


def test_the_ends_of_the_long_side_are_looked_at() -> None:
    _, first, last = square_boxes(300, 500, num=3, image_size=32)
    assert first == (0, 0, 300, 300)
    assert last == (0, 200, 300, 500)


@pytest.mark.parametrize(
    ("size", "num"),
    [((32, 32), 1), ((40, 40), 1), ((40, 32), 3), ((320, 320), 2 + 2), ((500, 375), 6)],
    ids=str,
)
def test_the_number_is_chosen_by_the_size(size: tuple[int, int], num: int) -> None:
    assert len(square_boxes(*size, num=None, image_size=32)) == num


@pytest.mark.parametrize("num", [0, MAX_CROPS + 1])
def test_a_number_out_of_range_is_refused(num: int) -> None:
    with pytest.raises(ValueError, match="`crops` must be 1 to 9"):
        square_boxes(500, 300, num=num, image_size=32)


def test_a_picture_of_the_networks_size_is_one_unchanged_crop() -> None:
    picture = photo(32, 32)
    crops = COLOR.to_crops(picture)
    np.testing.assert_array_equal(crops[0].permute(1, 2, 0).numpy(), np.asarray(picture))
    assert crops.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("size", [(500, 375), (90, 300), (33, 32)])
def test_the_first_crop_is_the_one_image_of_training(size: tuple[int, int]) -> None:
    picture = photo(*size)
    assert torch.equal(COLOR.to_crops(picture)[0], COLOR.to_uint8(picture))


def test_crops_show_the_parts_they_name() -> None:
    picture = PIL.Image.new("RGB", (300, 100), "red")
    picture.paste((0, 255, 0), (100, 0, 200, 100))
    picture.paste((0, 0, 255), (200, 0, 300, 100))
    middle, left, right = COLOR.to_crops(picture, num=3)[:, :, 16, 16].tolist()
    assert (middle, left, right) == ([0, 255, 0], [255, 0, 0], [0, 0, 255])


def test_digits_are_not_cut_into_parts_unless_asked() -> None:
    strip = PIL.Image.new("L", (300, 100), 255)
    assert len(GRAY.to_crops(strip)) == 1
    assert len(GRAY.to_crops(strip, num=3)) == 3
