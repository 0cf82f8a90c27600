"""Changes of color, blur and JPEG against Pillow and closed forms."""

import numpy as np
import PIL.Image
import pytest
import torch

from odevision.data.color import blur, jitter, jpeg, luma, to_gray


def pictures(num: int = 8, *, channels: int = 3, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return 255 * torch.rand(num, channels, side, side, generator=generator)


def jittered(images: torch.Tensor, value: float, **amounts: float) -> torch.Tensor:
    """Jitter with the same random number everywhere: 0 is the least factor, 1 the largest."""
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    return jitter(images, **(off | amounts), uniform=torch.full((len(images), 4), value))


def test_luma_is_pillows() -> None:
    images = pictures(1).round()
    picture = PIL.Image.fromarray(images[0].permute(1, 2, 0).to(torch.uint8).numpy())
    expected = torch.from_numpy(np.array(picture.convert("L"))).float()
    assert (luma(images)[0, 0] - expected).abs().max() < 1


def test_brightness_is_a_factor_that_stops_at_white() -> None:
    images = pictures()
    torch.testing.assert_close(jittered(images, 1.0, brightness=0.5), (1.5 * images).clamp(max=255))
    torch.testing.assert_close(jittered(images, 0.0, brightness=0.5), 0.5 * images)


def test_no_contrast_is_the_mean_luma_everywhere() -> None:
    images = pictures()
    flat = jittered(images, 0.0, contrast=1.0)
    mean = luma(images).mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(flat, mean.expand(images.shape), atol=1e-3, rtol=1e-5)


def test_no_saturation_is_gray() -> None:
    images = pictures()
    torch.testing.assert_close(jittered(images, 0.0, saturation=1.0), to_gray(images))


def test_a_half_chance_in_the_middle_changes_nothing() -> None:
    images = pictures()
    same = jittered(images, 0.5, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
    torch.testing.assert_close(same, images, atol=1e-2, rtol=1e-4)


def test_turning_the_hue_keeps_luma_and_comes_round() -> None:
    images = 100 + pictures() / 5  # so pale that no turn leaves 0 to 255
    turned = jittered(images, 1.0, hue=0.3)
    assert (turned - images).abs().max() > 10
    torch.testing.assert_close(luma(turned), luma(images), atol=1e-2, rtol=1e-4)
    back = jittered(turned, 0.0, hue=0.3)
    torch.testing.assert_close(back, images, atol=1e-2, rtol=1e-4)


def test_a_third_of_the_circle_takes_red_to_another_color() -> None:
    red = torch.tensor([140.0, 100.0, 100.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    turned = jittered(red, 1.0, hue=1 / 3)[0, :, 0, 0]
    assert turned.argmax() != 0


def test_blur_keeps_a_constant_and_spreads_a_point_by_its_variance() -> None:
    flat = torch.full((2, 3, 9, 9), 77.0)
    torch.testing.assert_close(blur(flat, (0.5, 1.0), torch.rand(2)), flat)
    point = torch.zeros(1, 1, 31, 31)
    point[0, 0, 15, 15] = 1.0
    spread = blur(point, (1.5, 1.5), torch.zeros(1))[0, 0]
    offsets = torch.arange(31.0) - 15
    assert abs(spread.sum().item() - 1) < 1e-5
    assert abs((spread.sum(0) * offsets**2).sum().item() - 1.5**2) < 0.1
    torch.testing.assert_close(spread, spread.T)


def test_each_image_has_its_own_blur() -> None:
    images = pictures(2)[:1].repeat(2, 1, 1, 1)
    weak, strong = blur(images, (0.2, 2.0), torch.tensor([0.0, 0.99])).std(dim=(1, 2, 3))
    assert strong < 0.6 * weak


def test_a_wide_blur_of_a_small_image_is_possible() -> None:
    assert blur(pictures(side=4), (5.0, 5.0), torch.zeros(8)).isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_a_real_one_and_worse_at_low_quality(channels) -> None:
    noise = pictures(4, channels=channels, side=4)
    images = torch.nn.functional.interpolate(noise, size=(24, 24), mode="bicubic").clamp(0, 255)
    images = images.to(torch.uint8)
    errors = [
        (jpeg(images, (quality, quality), torch.rand(4)).float() - images.float()).abs().mean()
        for quality in (5, 95)
    ]
    assert jpeg(images, (30, 95), torch.rand(4)).dtype == torch.uint8
    assert 0 < errors[1] < 8 and errors[0] > 1.5 * errors[1]
