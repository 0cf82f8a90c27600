"""RandAugment: each operation against torchvision's, and how they are drawn."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from odevision.data.rand_augment import LARGEST_MAGNITUDE, OPERATIONS, rand_augment

STRENGTH = 0.3


def pictures(num: int = 3, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (num, 3, side, side), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("brightness", lambda x: reference.adjust_brightness(x, 1 + 0.9 * STRENGTH)),
        ("color", lambda x: reference.adjust_saturation(x, 1 + 0.9 * STRENGTH)),
        ("contrast", lambda x: reference.adjust_contrast(x, 1 + 0.9 * STRENGTH)),
        ("posterize", lambda x: reference.posterize(x, 8 - round(4 * STRENGTH))),
        ("solarize", lambda x: reference.solarize(x, 255 * (1 - STRENGTH))),
        ("autocontrast", lambda x: reference.autocontrast(x)),
        ("equalize", lambda x: reference.equalize(x)),
        ("identity", lambda x: x),
    ],
)
def test_changes_of_value_are_torchvisions(name, expected) -> None:
    images = pictures()
    changed = OPERATIONS[name](images.float(), torch.full((3,), STRENGTH))
    assert (changed - expected(images).float()).abs().max() <= 2


def test_sharpness_is_torchvisions_inside() -> None:
    images = pictures()
    changed = OPERATIONS["sharpness"](images.float(), torch.full((3,), STRENGTH))
    expected = reference.adjust_sharpness(images, 1 + 0.9 * STRENGTH).float()
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    assert (changed[inside] - expected[inside]).abs().max() <= 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("translate_x", {"translate": [-150 / 331 * STRENGTH * 65, 0.0]}),
        ("translate_y", {"translate": [0.0, -150 / 331 * STRENGTH * 65]}),
        ("rotate", {"angle": 30 * STRENGTH}),
    ],
)
def test_moves_are_those_of_torchvision_up_to_the_direction(name, expected) -> None:
    # A smooth spot near the middle, so that what comes in at the border plays no part.
    rows, columns = torch.meshgrid(torch.arange(65.0), torch.arange(65.0), indexing="ij")
    spot = 255 * torch.exp(-((rows - 40) ** 2 + (columns - 35) ** 2) / 50)
    images = spot.expand(1, 3, 65, 65)
    options = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]} | expected
    options["translate"] = [round(v) for v in options["translate"]]
    bilinear = reference.InterpolationMode.BILINEAR
    there = reference.affine(images, interpolation=bilinear, **options)
    ways = [OPERATIONS[name](images, torch.tensor([way * STRENGTH])) for way in (1.0, -1.0)]
    assert min((way - there).abs().max().item() for way in ways) < 20
    assert (ways[0] - images).abs().max() > 2 * 20


@pytest.mark.parametrize("name", ["shear_x", "shear_y"])
def test_shears_move_the_border_and_not_the_middle(name) -> None:
    rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
    along = columns if name == "shear_x" else rows
    images = along.expand(1, 3, 33, 33)
    moved = OPERATIONS[name](images, torch.tensor([1.0]))[0, 0]
    moved = moved if name == "shear_x" else moved.T
    assert abs(moved[16, 16].item() - 16) < 0.1
    assert abs(moved[26, 16].item() - (16 + 0.3 * 10)) < 0.1


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("identity",)])
def test_no_strength_changes_nothing_where_there_is_a_strength(name) -> None:
    images = pictures().float()
    changed = OPERATIONS[name](images, torch.zeros(3))
    if name in ("autocontrast", "equalize"):
        return
    if name == "solarize":  # white alone is at the threshold
        images = torch.where(images == 255, 0.0, images)
    assert (changed - images).abs().max() < 0.1


def test_each_image_gets_the_operation_that_its_number_names() -> None:
    images = pictures(4).float()
    names = list(OPERATIONS)
    numbers = torch.tensor(
        [names.index(n) + 0.5 for n in ("identity", "solarize", "brightness", "equalize")]
    ) / len(names)
    uniform = torch.stack([numbers, torch.full((4,), 0.9)], dim=1)[:, None]
    changed = rand_augment(images, 15.0, uniform)
    strength = torch.tensor([15.0 / LARGEST_MAGNITUDE])
    assert torch.equal(changed[0], images[0])
    for index, name in enumerate(("solarize", "brightness", "equalize"), start=1):
        expected = OPERATIONS[name](images[index : index + 1], strength)[0]
        torch.testing.assert_close(changed[index], expected)


def test_operations_follow_each_other() -> None:
    images = pictures(1).float()
    names = list(OPERATIONS)
    numbers = torch.tensor([names.index(n) + 0.5 for n in ("brightness", "solarize")]) / len(names)
    uniform = torch.stack([numbers, torch.full((2,), 0.1)], dim=1)[None]
    strength = torch.tensor([-15.0 / LARGEST_MAGNITUDE])
    expected = OPERATIONS["solarize"](OPERATIONS["brightness"](images, strength), strength)
    torch.testing.assert_close(rand_augment(images, 15.0, uniform), expected)


def test_values_stay_colors() -> None:
    images = pictures(256, side=8).float()
    uniform = torch.rand(256, 3, 2, generator=torch.Generator().manual_seed(0))
    changed = rand_augment(images, 30.0, uniform)
    assert changed.min() >= 0 and changed.max() <= 255
