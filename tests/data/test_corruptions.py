"""The corruptions against their definitions, and against SciPy where it has the same filter."""

import io

import numpy as np
import PIL.Image
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from odevision.data.corruption_blur import (
    defocus_blur,
    gaussian_blurred,
    glass_blur,
    motion_blurred,
    pad_symmetric,
    zoomed,
)
from odevision.data.corruption_digital import _pixel_grid, _sampled
from odevision.data.corruption_noise import gaussian_noise, impulse_noise, shot_noise
from odevision.data.corruption_weather import brightness, fog, frost_texture, plasma, snow
from odevision.data.corruptions import BLOCK, CORRUPTIONS, corrupt

SMOOTH = ("elastic_transform", "glass_blur")  # their strength doesn't rise with the severity


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(num: int = 6, channels: int = 3, size: int = 32) -> Tensor:
    """Smooth color fields with a sharp square, 8 bits."""
    noise = torch.rand(num, channels, 6, 6, generator=generator())
    smooth = torch.nn.functional.interpolate(noise, (size, size), mode="bicubic").clamp(0, 1)
    smooth[:, :, 8:14, 10:20] = 0.9
    return (smooth * 255).to(torch.uint8)


def floats(num: int = 4, channels: int = 3) -> Tensor:
    return pictures(num, channels).float() / 255


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_images(name: str) -> None:
    images = pictures()
    changed = corrupt(images, name, 3)
    assert changed.shape == images.shape and changed.dtype == torch.uint8
    assert not torch.equal(changed, images)
    assert torch.equal(changed, corrupt(images, name, 3))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_does_not_depend_on_its_company(name: str) -> None:
    images = pictures(BLOCK + 3)
    whole = corrupt(images, name, 2)
    assert torch.equal(whole[:2], corrupt(images[:2], name, 2))
    assert torch.equal(whole[BLOCK:], corrupt(images[BLOCK:], name, 2, first=BLOCK))


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in SMOOTH])
def test_a_higher_severity_changes_more(name: str) -> None:
    images = pictures(16)
    mild, strong = (
        (corrupt(images, name, severity).float() - images.float()).abs().mean()
        for severity in (1, 5)
    )
    assert strong > 1.2 * mild


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_gray_and_larger_images_are_corrupted_too(name: str) -> None:
    for shape in ((2, 1, 28, 28), (1, 3, 48, 48)):
        images = torch.randint(0, 256, shape, generator=generator(), dtype=torch.uint8)
        assert corrupt(images, name, 4).shape == shape


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "shot_noise", "glass_blur", "motion_blur", "snow", "frost", "fog"]
)
def test_images_of_a_set_are_corrupted_differently(name: str) -> None:
    one = pictures(1)
    twins = corrupt(torch.cat([one, one]), name, 5)
    assert not torch.equal(twins[0], twins[1])
    assert not torch.equal(corrupt(one, name, 5, seed=1), twins[:1])


def test_an_unknown_corruption_or_severity_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a corruption, got 'blur'"):
        corrupt(pictures(), "blur", 1)
    with pytest.raises(ValueError, match="`severity` must be 1 to 5, got 6"):
        corrupt(pictures(), "fog", 6)
    with pytest.raises(ValueError, match="multiple of 64, got 5"):
        corrupt(pictures(), "fog", 1, first=5)


def test_images_that_do_not_suit_are_refused() -> None:
    for shape in ((1, 3, 8, 8), (1, 3, 32, 40), (1, 4, 32, 32)):
        with pytest.raises(ValueError, match="must be square, gray or color"):
            corrupt(torch.zeros(shape, dtype=torch.uint8), "fog", 1)


def test_noise_has_the_stated_size() -> None:
    gray = torch.full((8, 3, 32, 32), 0.5)
    assert float((gaussian_noise(gray, 5, generator()) - gray).std()) == pytest.approx(
        0.1, rel=0.02
    )
    shot = shot_noise(gray, 5, generator())
    assert float(shot.mean()) == pytest.approx(0.5, abs=0.003)
    assert float(shot.var()) == pytest.approx(0.5 / 50, rel=0.05)
    hit = impulse_noise(gray, 5, generator())
    assert float((hit == 0).float().mean()) == pytest.approx(0.035, abs=0.003)
    assert float((hit == 1).float().mean()) == pytest.approx(0.035, abs=0.003)


@pytest.mark.parametrize(("mode", "scipy_mode"), [("nearest", "nearest"), ("symmetric", "reflect")])
def test_the_gaussian_filter_is_that_of_scipy(mode: str, scipy_mode: str) -> None:
    images = floats()
    expected = ndimage.gaussian_filter(
        images.double().numpy(), (0, 0, 1.9, 1.9), truncate=3, mode=scipy_mode
    )
    found = gaussian_blurred(images, 1.9, truncate=3, mode=mode)
    assert np.abs(found.numpy() - expected).max() < 1e-5


def test_a_wide_border_is_mirrored() -> None:
    row = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    padded = pad_symmetric(row, 3)
    assert padded[0, 0, 0].tolist() == [2, 1, 0, 0, 1, 2, 3, 3, 2, 1]


@pytest.mark.parametrize("factor", [1.07, 1.25, 1.75, 2.25])
def test_the_zoom_is_that_of_scipy(factor: float) -> None:
    images = floats(2)
    side = int(np.ceil(32 / factor))
    top = (32 - side) // 2
    middle = images.numpy()[:, :, top : top + side, top : top + side]
    expected = ndimage.zoom(middle, (1, 1, factor, factor), order=1)
    start = (expected.shape[2] - 32) // 2
    expected = expected[:, :, start : start + 32, start : start + 32]
    assert np.abs(zoomed(images, factor).numpy() - expected).max() < 1e-5


@pytest.mark.parametrize(("border", "mode"), [("reflect", "mirror"), ("symmetric", "reflect")])
def test_sampling_is_that_of_scipy(border: str, mode: str) -> None:
    images = floats(1)
    shifts = 6 * torch.randn(1, 32, 32, 2, generator=generator())
    places = _pixel_grid(32, 32) + shifts
    found = _sampled(images, places, border)[0]
    for channel in range(3):
        expected = ndimage.map_coordinates(
            images[0, channel].double().numpy(),
            [places[0, :, :, 1].numpy(), places[0, :, :, 0].numpy()],
            order=1,
            mode=mode,
        )
        assert np.abs(found[channel].numpy() - expected).max() < 1e-4


def test_a_motion_trail_begins_at_the_pixel_and_keeps_the_light() -> None:
    point = torch.zeros(2, 1, 33, 33)
    point[:, :, 16, 16] = 1.0
    trail = motion_blurred(point, 8, 2.0, torch.tensor([0.0, 90.0]))
    assert trail.sum(dim=(1, 2, 3)).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    # Each pixel looks to the right (below): the light moves to the left (up), and only there.
    assert float(trail[0, 0, 16, :16].sum()) > 0.5
    assert float(trail[0, 0, 16, 17:].sum()) == 0.0
    assert torch.equal(trail[0, 0], trail[1, 0].T)


def test_defocus_is_symmetric_and_keeps_the_light() -> None:
    point = torch.zeros(1, 1, 17, 17)
    point[..., 8, 8] = 1.0
    for severity in (1, 5):
        disk = defocus_blur(point, severity, generator())
        assert float(disk.sum()) == pytest.approx(1.0, abs=1e-5)
        assert torch.allclose(disk, disk.flip(2, 3)) and torch.allclose(disk, disk.mT)
        assert float(disk[..., 8, 8]) < 1


def test_glass_shows_neighbors_above_and_to_the_left() -> None:
    numbers = torch.arange(32 * 32.0).view(1, 1, 32, 32) / 1024
    changed = glass_blur(numbers, 1, generator())  # a blur of 0.05 pixels is none
    shift = ((numbers - changed) * 1024).round().long()
    assert set(shift.unique().tolist()) == {0, 1, 32, 33}
    assert torch.equal(changed[..., :2, :], numbers[..., :2, :])


def test_an_even_image_stays_even_where_nothing_is_added() -> None:
    even = torch.full((2, 3, 32, 32), 120, dtype=torch.uint8)
    for name in CORRUPTIONS:
        if name.endswith("_blur") or name in ("contrast", "elastic_transform", "pixelate"):
            assert torch.equal(corrupt(even, name, 5), even), name


def test_brightness_raises_the_value_and_keeps_the_hue() -> None:
    images = floats()
    changed = brightness(images, 2, generator())
    value = images.amax(dim=1)
    assert torch.allclose(changed.amax(dim=1), (value + 0.1).clamp(max=1), atol=1e-6)
    share = images / value[:, None]
    assert torch.allclose(changed / changed.amax(dim=1, keepdim=True), share, atol=1e-5)
    black = brightness(torch.zeros(1, 3, 16, 16), 2, generator())
    assert torch.allclose(black, torch.tensor(0.1))


def test_clouds_fill_the_range_and_lose_detail_with_decay() -> None:
    rough, smooth = (plasma(8, 32, decay, generator()) for decay in (1.2, 3.0))
    for clouds in (rough, smooth):
        assert clouds.amin(dim=(1, 2)).tolist() == [0.0] * 8
        assert clouds.amax(dim=(1, 2)).tolist() == [1.0] * 8
    steps = [float(clouds.diff(dim=2).abs().mean()) for clouds in (rough, smooth)]
    assert steps[0] > 2 * steps[1]


def test_fog_pales_and_stays_within_the_range() -> None:
    images = floats()
    foggy = fog(images, 3, generator())
    assert foggy.min() >= 0 and foggy.max() <= 1
    assert float(foggy.std()) < float(images.std())


def test_snow_only_brightens_what_is_dark() -> None:
    dark = torch.full((4, 3, 32, 32), 0.2)
    snowy = snow(dark, 3, generator())
    assert float(snowy.min()) >= 0.2
    assert float((snowy > 0.4).float().mean()) > 0.01


def test_frost_textures_are_standardized_and_differ() -> None:
    one, other = frost_texture(0), frost_texture(1)
    assert float(one.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(one.std()) == pytest.approx(1.0, abs=1e-4)
    assert float((one * other).mean().abs()) < 0.1


def test_jpeg_is_that_of_pillow() -> None:
    image = pictures(1)
    file = io.BytesIO()
    PIL.Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=40)
    expected = torch.from_numpy(np.array(PIL.Image.open(file))).permute(2, 0, 1)
    assert torch.equal(corrupt(image, "jpeg_compression", 5)[0], expected)
