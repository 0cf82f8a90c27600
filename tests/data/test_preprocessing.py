"""From a picture to a network's input."""

import json

import numpy as np
import PIL.Image
import pytest
import torch

from odevision.data.preprocessing import Preprocessing
from odevision.data.sources import dataset_info, load_split, preprocessing_for

GRAY = Preprocessing(image_size=28, num_channels=1, mean=(0.13,), std=(0.3,), bright_on_dark=True)
COLOR = Preprocessing(image_size=32, num_channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def random_picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_color_picture_of_the_right_size_is_unchanged() -> None:
    pixels = random_picture(32, 32, 3)
    tensor = COLOR.to_uint8(PIL.Image.fromarray(pixels))
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), pixels)


def test_own_test_images_are_unchanged() -> None:
    images = load_split("mnist-mini", "test").images
    preprocessing = preprocessing_for(dataset_info("mnist-mini"))
    again = [preprocessing.to_uint8(PIL.Image.fromarray(image[0].numpy())) for image in images]
    assert torch.equal(torch.stack(again), images)


def test_no_digit_of_the_full_set_is_inverted(real_data) -> None:
    images = torch.cat(
        [load_split("mnist", s, data_root=real_data).images for s in ("train", "test")]
    )
    total, middle = images.sum(dim=(1, 2, 3)), images[:, :, 2:-2, 2:-2].sum(dim=(1, 2, 3))
    num_middle = 24 * 24
    assert not ((total - middle) / (28 * 28 - num_middle) > middle / num_middle).any()


def test_gray_digit_saved_as_rgb_is_unchanged() -> None:
    pixels = load_split("mnist-mini", "test", limit=1).images[0]
    picture = PIL.Image.fromarray(pixels[0].numpy()).convert("RGB")
    assert torch.equal(GRAY.to_uint8(picture), pixels)


def test_ink_on_paper_is_inverted_for_bright_on_dark_networks() -> None:
    digit = load_split("mnist-mini", "test", limit=1).images[0]
    paper = PIL.Image.fromarray((255 - digit[0]).numpy())
    assert torch.equal(GRAY.to_uint8(paper), digit)


def test_inversion_happens_at_any_size() -> None:
    digit = load_split("mnist-mini", "test", limit=1).images[0]
    paper = PIL.Image.fromarray((255 - digit[0]).numpy())
    large = paper.resize((280, 280), PIL.Image.Resampling.BICUBIC)
    difference = GRAY.to_uint8(large).float() - digit.float()
    assert difference.abs().mean() < 8


def test_other_networks_never_invert() -> None:
    white = PIL.Image.new("RGB", (32, 32), "white")
    white.paste((0, 0, 0), (8, 8, 24, 24))
    assert COLOR.to_uint8(white)[0, 0, 0] == 255


def test_blank_pictures_are_not_inverted() -> None:
    assert GRAY.to_uint8(PIL.Image.new("L", (28, 28), 255)).min() == 255


@pytest.mark.parametrize("size", [(548, 882), (882, 548), (7, 3), (1, 500), (32, 33)])
def test_any_size_becomes_the_networks(size: tuple[int, int]) -> None:
    assert COLOR.to_uint8(PIL.Image.new("RGB", size)).shape == (3, 32, 32)


def test_aspect_is_kept_and_the_middle_taken() -> None:
    picture = PIL.Image.new("RGB", (300, 100), "red")
    picture.paste((0, 255, 0), (100, 0, 200, 100))
    tensor = COLOR.to_uint8(picture)
    # The green square fills the image, but for the filter's reach at the two cuts.
    assert (tensor[1, :, 1:-1] == 255).all() and (tensor[0, :, 1:-1] == 0).all()


def test_shrinking_averages_fine_patterns() -> None:
    checkers = np.indices((320, 320)).sum(axis=0) % 2 * 255
    tensor = COLOR.to_uint8(PIL.Image.fromarray(checkers.astype(np.uint8)))
    assert (tensor.int() - 127).abs().max() <= 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_any_mode_becomes_the_networks_channels(mode: str) -> None:
    picture = PIL.Image.new(mode, (40, 40))
    assert COLOR.to_uint8(picture).shape == (3, 32, 32)
    assert GRAY.to_uint8(picture).shape == (1, 28, 28)


def test_normalization_is_the_formula() -> None:
    images = torch.from_numpy(random_picture(4, 3, 32, 32))
    mean, std = torch.tensor(COLOR.mean).double(), torch.tensor(COLOR.std).double()
    expected = (images.double() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    normalized = COLOR.normalize(images)
    assert normalized.dtype == torch.float32
    torch.testing.assert_close(normalized.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("preprocessing", [GRAY, COLOR], ids=["gray", "color"])
def test_normalized_images_are_contiguous_by_their_strides(preprocessing) -> None:
    channels, side = preprocessing.num_channels, preprocessing.image_size
    images = torch.empty(5, side, side, channels, dtype=torch.uint8).permute(0, 3, 1, 2)
    strides = (side * side * channels, side * side, side, 1)
    assert preprocessing.normalize(images).stride() == strides


def test_constants_made_in_inference_mode_serve_training_later() -> None:
    preprocessing = Preprocessing(image_size=4, num_channels=1, mean=(0.11,), std=(0.22,))
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with torch.inference_mode():
        preprocessing.normalize(images)
    weight = torch.ones(1, requires_grad=True)
    (preprocessing.normalize(images) * weight).sum().backward()
    assert weight.grad is not None


def test_dict_round_trip_through_json_is_exact() -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(COLOR.to_dict()))) == COLOR


@pytest.mark.parametrize("change", [{"colour": 1}, {"mean": 0.5}, {"num_channels": 2}])
def test_wrong_dicts_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="`"):
        Preprocessing.from_dict(COLOR.to_dict() | change)


def test_dict_without_a_field_is_refused() -> None:
    fields = COLOR.to_dict()
    del fields["std"]
    with pytest.raises(ValueError, match="std"):
        Preprocessing.from_dict(fields)


@pytest.mark.parametrize(
    "fields", [{"image_size": 0}, {"std": (0.0,)}, {"mean": (0.1, 0.2)}, {"std": (float("nan"),)}]
)
def test_impossible_values_are_refused(fields: dict) -> None:
    whole = {"image_size": 28, "num_channels": 1, "mean": (0.1,), "std": (0.3,)} | fields
    with pytest.raises(ValueError, match=next(iter(fields))):
        Preprocessing(**whole)
