"""From a frame of any size to a network's input."""

import dataclasses

import pytest
import torch

from odevision.data.clip_preprocessing import ClipPreprocessing

PREPARE = ClipPreprocessing(height=6, width=8, rate=8.0)


def test_a_frame_of_the_right_size_stays_as_it_is() -> None:
    image = torch.randint(256, (3, 6, 8), dtype=torch.uint8)
    assert torch.equal(PREPARE.to_uint8(image), image)


@pytest.mark.parametrize("size", [(6, 8), (60, 80), (60, 200), (200, 60), (3, 4), (1, 1), (7, 500)])
def test_any_frame_gets_the_networks_size(size: tuple[int, int]) -> None:
    image = torch.full((3, *size), 77, dtype=torch.uint8)
    assert torch.equal(PREPARE.to_uint8(image), torch.full((3, 6, 8), 77, dtype=torch.uint8))


def test_the_middle_of_a_wide_frame_is_kept_and_nothing_is_stretched() -> None:
    image = torch.zeros(3, 6, 20, dtype=torch.uint8)
    image[:, :, 6:14] = torch.randint(1, 256, (3, 6, 8), dtype=torch.uint8)
    assert torch.equal(PREPARE.to_uint8(image), image[:, :, 6:14])


def test_normalizing_takes_any_number_of_leading_dimensions() -> None:
    frames = torch.randint(256, (2, 5, 3, 6, 8), dtype=torch.uint8)
    expected = (frames.double() / 255 - 0.45) / 0.225
    torch.testing.assert_close(PREPARE.normalize(frames).double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(PREPARE.normalize(frames)[1, 2], PREPARE.normalize(frames[1, 2]))


def test_it_survives_plain_values() -> None:
    prepare = dataclasses.replace(PREPARE, mean=(0.1, 0.2, 0.3))
    assert ClipPreprocessing.from_dict(prepare.to_dict()) == prepare


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 0}, "`height` must be at least 1 pixel, got 0"),
        ({"rate": 0.0}, "`rate` must be above 0"),
        ({"rate": float("nan")}, "`rate` must be above 0"),
        ({"mean": (0.5,)}, "`mean` must have three"),
        ({"std": (0.2, 0.2, 0.0)}, "`std` must be positive"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PREPARE, **changes)


def test_plain_values_of_something_else_are_refused() -> None:
    fields = PREPARE.to_dict()
    with pytest.raises(ValueError, match="missing or new: ..rate"):
        ClipPreprocessing.from_dict({k: v for k, v in fields.items() if k != "rate"})
    with pytest.raises(ValueError, match="kind = 'clips'"):
        ClipPreprocessing.from_dict({**fields, "kind": "images"})
    with pytest.raises(ValueError, match="must hold lists"):
        ClipPreprocessing.from_dict({**fields, "mean": 0.5})
