"""Random changes to batches of images."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from odevision.data.augmentation import Augmentation, alternating_flip, augment

EVERYTHING = Augmentation(
    crop_padding=3, flip="alternating", cutout=5, rotation_degrees=20.0, scale=0.1
)
COLORS = Augmentation(
    rand_augment=2, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, grayscale=0.5, blur=0.5
)
SHIFTS = Augmentation(crop_padding=3)
LATER = [
    Augmentation(crop_scale=(0.3, 1.0)),
    Augmentation(rand_augment=2),
    Augmentation(brightness=0.3),
    Augmentation(contrast=0.3),
    Augmentation(saturation=0.3),
    Augmentation(hue=0.1),
    Augmentation(grayscale=0.5),
    Augmentation(blur=0.5, blur_sigma=(0.5, 1.0)),
    Augmentation(jpeg=0.5),
    Augmentation(erasing=0.5),
    COLORS,
]
EACH = [
    *LATER,
    Augmentation(crop_padding=4),
    Augmentation(flip="random"),
    Augmentation(flip="alternating"),
    Augmentation(cutout=5),
    Augmentation(rotation_degrees=20.0),
    Augmentation(scale=0.2),
    EVERYTHING,
]


def pictures(num: int = 64, *, channels: int = 3, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    shape = (num, channels, side, side)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def run(images: torch.Tensor, augmentation: Augmentation, *, seed=0, epoch=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return augment(images, augmentation, generator, epoch, torch.arange(len(images)), **options)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("augmentation", EACH)
def test_shape_and_dtype_are_kept(augmentation, dtype) -> None:
    images = pictures().to(dtype)
    changed = run(images, augmentation)
    assert changed.shape == images.shape and changed.dtype == dtype


@pytest.mark.parametrize("augmentation", EACH)
def test_argument_is_left_alone(augmentation) -> None:
    images = pictures()
    before = images.clone()
    assert not torch.equal(run(images, augmentation), before)
    assert torch.equal(images, before)


@pytest.mark.parametrize("augmentation", EACH)
def test_same_generator_state_gives_same_images(augmentation) -> None:
    assert torch.equal(run(pictures(), augmentation), run(pictures(), augmentation))


@pytest.mark.parametrize("augmentation", [a for a in EACH if a.flip != "alternating"])
def test_other_generator_state_gives_other_images(augmentation) -> None:
    assert not torch.equal(run(pictures(), augmentation), run(pictures(), augmentation, seed=1))


def test_no_change_is_asked_for_by_default() -> None:
    assert torch.equal(run(pictures(), Augmentation()), pictures())


def test_global_random_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    for augmentation in (EVERYTHING, *LATER):
        run(pictures(), augmentation)
    assert torch.equal(torch.get_rng_state(), before)


def test_channels_last_images_are_taken_too() -> None:
    images = pictures().contiguous(memory_format=torch.channels_last)
    for augmentation in EACH:
        assert torch.equal(run(images, augmentation), run(pictures(), augmentation))


@pytest.mark.parametrize("augmentation", EACH)
def test_images_that_are_not_square_are_taken_too(augmentation) -> None:
    assert run(pictures()[:, :, :12], augmentation).shape == (64, 3, 12, 16)


@pytest.mark.parametrize("augmentation", [a for a in LATER if a.saturation + a.hue == 0])
def test_gray_images_are_taken_where_no_color_is_needed(augmentation) -> None:
    if not augmentation.grayscale:
        assert run(pictures(channels=1), augmentation).shape == (64, 1, 16, 16)


@pytest.mark.parametrize("augmentation", LATER)
def test_changes_that_came_later_leave_the_randomness_of_the_first_alone(augmentation) -> None:
    # Runs that were started without them must come out as before. The cutout is the last of the
    # first changes, and its place is seen on images of one value, which no other change moves.
    images = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    both = dataclasses.replace(
        augmentation, cutout=5, rand_augment=0, brightness=0.0, erasing=0.0, jpeg=0.0
    )
    fill = [9.0, 9.0, 9.0]
    changed = run(images, both, fill=fill)
    assert torch.equal(changed, run(images, Augmentation(cutout=5), fill=fill))


def test_shifts_are_the_first_two_columns_of_a_table_of_seven() -> None:
    images = pictures()
    uniform = torch.rand(64, 7, generator=torch.Generator().manual_seed(0))
    padded = F.pad(images.float(), (3,) * 4, mode="reflect").to(torch.uint8)
    for changed, image, (down, right) in zip(
        run(images, SHIFTS), padded, (uniform[:, :2] * 7).long(), strict=True
    ):
        assert torch.equal(changed, image[:, down : down + 16, right : right + 16])


@pytest.mark.parametrize("name", ["grayscale", "blur", "jpeg", "erasing"])
def test_a_change_with_a_probability_hits_that_share(name) -> None:
    images = pictures(2000, side=8)
    options = {"blur_sigma": (0.8, 0.8)} if name == "blur" else {}
    changed = run(images, Augmentation(**{name: 0.3}, **options))
    share = (changed != images).flatten(1).any(dim=1).double().mean().item()
    assert abs(share - 0.3) < 0.04


def test_crop_is_a_window_of_the_reflected_image() -> None:
    padding = 3
    images = pictures()
    cropped = run(images, Augmentation(crop_padding=padding))
    padded = F.pad(images.float(), (padding,) * 4, mode="reflect").to(torch.uint8)
    places = set()
    for image, changed in zip(padded, cropped, strict=True):
        windows = image.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4)
        found = (windows == changed).flatten(2).all(dim=2).nonzero().tolist()
        assert len(found) == 1
        places.add(tuple(found[0]))
    assert len(places) > 25  # of 49, in 64 draws


def test_crop_shifts_are_uniform() -> None:
    images = torch.arange(16, dtype=torch.uint8).expand(20_000, 1, 16, 16)
    shifts = run(images, Augmentation(crop_padding=2))[:, 0, 8, 8].long() - 8
    counts = (shifts + 2).bincount(minlength=5)
    assert len(counts) == 5 and (counts.double() / 20_000 - 0.2).abs().max() < 0.015


def test_random_flip_mirrors_about_half() -> None:
    images = pictures(2000)
    changed = run(images, Augmentation(flip="random"))
    is_same = (changed == images).flatten(1).all(dim=1)
    is_mirrored = (changed == images.flip(3)).flatten(1).all(dim=1)
    assert (is_same ^ is_mirrored).all()
    assert abs(is_mirrored.double().mean().item() - 0.5) < 0.05


def test_alternating_flip_shows_the_other_side_in_the_next_epoch() -> None:
    images = pictures()
    even, odd, again = (run(images, Augmentation(flip="alternating"), epoch=e) for e in (0, 1, 2))
    assert torch.equal(even.flip(3), odd) and torch.equal(even, again)


def test_alternating_flip_depends_on_the_image_not_on_its_batch() -> None:
    images, augmentation = pictures(), Augmentation(flip="alternating")
    whole = run(images, augmentation)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = augment(images[order], augmentation, torch.Generator(), 0, order)
    assert torch.equal(shuffled, whole[order])


def test_alternating_flip_begins_with_half_chosen_by_the_seed() -> None:
    indices = torch.arange(10_000)
    flips = [alternating_flip(indices, 0, seed=seed) for seed in (0, 1)]
    assert all(abs(flip.double().mean().item() - 0.5) < 0.02 for flip in flips)
    assert abs((flips[0] == flips[1]).double().mean().item() - 0.5) < 0.02


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutout_blanks_one_whole_square_of_each_image(dtype) -> None:
    images = torch.full((500, 3, 16, 16), 9, dtype=dtype)
    fill = [1.0, 2.0, 3.0]
    changed = run(images, Augmentation(cutout=5), fill=fill)
    is_blank = changed == torch.tensor(fill, dtype=dtype).view(3, 1, 1)
    assert (is_blank.sum(dim=(2, 3)) == 25).all()
    assert ((is_blank.any(dim=2).sum(dim=2)) == 5).all()
    assert ((is_blank.any(dim=3).sum(dim=2)) == 5).all()
    assert (changed[~is_blank] == 9).all()


def test_cutout_reaches_every_corner_and_no_further() -> None:
    images = torch.ones(3000, 1, 8, 8, dtype=torch.uint8)
    blank = run(images, Augmentation(cutout=6))[:, 0] == 0
    for row in (0, 7):
        for column in (0, 7):
            assert blank[:, row, column].any()


def test_cutout_may_be_the_whole_image() -> None:
    assert run(pictures(), Augmentation(cutout=16)).max() == 0


def test_rotation_keeps_the_center_and_stays_in_its_range() -> None:
    # A ray from the center of an image to its right edge.
    images = torch.zeros(500, 1, 65, 65)
    images[:, :, 32, 32:] = 255
    rotated = run(images, Augmentation(rotation_degrees=30.0))
    assert (rotated[:, 0, 32, 32] > 200).all()
    column = rotated[:, 0, :, 52]  # 20 pixels from the center
    rows = (column * torch.arange(65.0)).sum(1) / column.sum(1) - 32
    angles = torch.rad2deg(torch.atan2(rows, torch.tensor(20.0)))
    assert angles.abs().max() < 31 and angles.max() > 27 and angles.min() < -27


def test_rotation_is_one_also_where_the_image_is_not_square() -> None:
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    distance = ((rows - 19.5) ** 2 + (columns - 39.5) ** 2).sqrt()
    disc = 255 * ((14 - distance) / 4).clamp(0, 1)
    images = disc.expand(50, 1, 40, 80)
    difference = run(images, Augmentation(rotation_degrees=90.0)) - images
    # Left and right of this window reflections of the disc appear.
    assert difference[:, :, 4:36, 24:56].abs().mean() < 3


def test_zoom_scales_areas_within_its_range() -> None:
    images = torch.zeros(500, 1, 64, 64)
    images[:, :, 22:42, 22:42] = 1
    sides = run(images, Augmentation(scale=0.2)).sum(dim=(1, 2, 3)).sqrt() / 20
    assert 0.79 < sides.min() < 0.83 and 1.17 < sides.max() < 1.21


def test_switching_one_change_off_leaves_the_others() -> None:
    images = torch.ones(64, 1, 16, 16, dtype=torch.uint8)
    with_crop = run(images, Augmentation(cutout=5, crop_padding=3))
    assert torch.equal(with_crop, run(images, Augmentation(cutout=5)))


@pytest.mark.parametrize(
    "fields",
    [
        {"crop_padding": -1},
        {"flip": "sometimes"},
        {"cutout": -2},
        {"rotation_degrees": 181.0},
        {"scale": 1.0},
        {"crop_scale": (0.0, 1.0)},
        {"crop_scale": (0.5, 1.5)},
        {"crop_scale": (0.8, 0.5)},
        {"crop_ratio": (-1.0, 1.0)},
        {"rand_augment": -1},
        {"rand_augment_magnitude": 31.0},
        {"brightness": -0.1},
        {"contrast": 1.5},
        {"saturation": float("nan")},
        {"hue": 0.6},
        {"grayscale": 2.0},
        {"blur": -1.0},
        {"blur_sigma": (0.0, 1.0)},
        {"jpeg": 1.1},
        {"jpeg_quality": (50, 101)},
        {"erasing": 1.1},
    ],
)
def test_impossible_values_are_refused(fields) -> None:
    # A type checker, where one is on, refuses a wrong word first and calls it a TypeError.
    with pytest.raises((ValueError, TypeError), match=next(iter(fields))):
        Augmentation(**fields)


@pytest.mark.parametrize("fields", [{"crop_padding": 16}, {"cutout": 17}])
def test_changes_too_large_for_the_image_are_refused(fields) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(fields))}` must"):
        run(pictures(), Augmentation(**fields))


@pytest.mark.parametrize("fields", [{"hue": 0.1}, {"saturation": 0.1}, {"grayscale": 0.1}])
def test_changes_of_color_are_refused_for_gray_images(fields) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(fields))}` must be 0 for grayscale"):
        run(pictures(channels=1), Augmentation(**fields))
