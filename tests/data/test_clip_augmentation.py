"""Random changes of clips: the same for every frame of a clip, another for every clip."""

import pytest
import torch
from torch import Tensor

from odevision.data.clip_augmentation import ClipAugmentation, augment_clips

ALL = {
    "crop_padding": 3,
    "rotation_degrees": 20.0,
    "scale": 0.2,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 0.1,
    "grayscale": 0.5,
    "invert": 0.5,
    "cutout": 5,
}


def still_clips(batch: int = 6, time: int = 4) -> Tensor:
    """Clips whose frames are all the same picture."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (1, 1, 3, 12, 16), dtype=torch.uint8, generator=generator)
    return pictures.expand(batch, time, -1, -1, -1).contiguous()


def changed(frames: Tensor, seed: int = 0, **fields) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment_clips(frames, ClipAugmentation(**fields), generator, fill=(9.0, 9.0, 9.0))


@pytest.mark.parametrize("name", ALL)
def test_all_frames_of_a_clip_change_alike_and_clips_differ(name: str) -> None:
    frames = still_clips()
    result = changed(frames, **{name: ALL[name]})
    assert result.shape == frames.shape and result.dtype == torch.uint8
    assert torch.equal(result, result[:, :1].expand_as(result))
    assert len({tuple(clip[0].flatten().tolist()) for clip in result}) > 1


def test_about_half_of_the_clips_are_mirrored_as_a_whole() -> None:
    frames = still_clips(batch=200)
    result = changed(frames, flip="random")
    is_same = (result == frames).flatten(1).all(dim=1)
    is_mirrored = (result == frames.flip(4)).flatten(1).all(dim=1)
    assert (is_same | is_mirrored).all()
    assert 70 < int(is_mirrored.sum()) < 130


def test_a_negative_and_a_gray_clip_are_just_that() -> None:
    frames = still_clips(batch=1)
    assert torch.equal(changed(frames, invert=1.0), 255 - frames)
    gray = changed(frames, grayscale=1.0)
    assert torch.equal(gray[:, :, 0], gray[:, :, 1]) and torch.equal(gray[:, :, 0], gray[:, :, 2])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_what_stands_still_keeps_its_color_when_something_bright_comes_in(name: str) -> None:
    frames = still_clips()
    frames[:, 2:, :, :6] = 255
    result = changed(frames, **{name: ALL[name]})[:, :, :, 6:]
    assert torch.equal(result, result[:, :1].expand_as(result))


def test_motion_stays_motion() -> None:
    frames = torch.zeros(1, 4, 3, 16, 16, dtype=torch.uint8)
    for i in range(4):
        frames[0, i, :, 8, 3 * i + 2] = 200
    columns = changed(frames, crop_padding=2)[0, :, 0].float().amax(dim=1).argmax(dim=1)
    assert columns.diff().tolist() == [3, 3, 3]


def test_the_defaults_change_nothing_and_the_argument_stays_as_it_is() -> None:
    frames = still_clips()
    before = frames.clone()
    assert torch.equal(changed(frames), before)
    changed(frames, **ALL)
    changed(frames, cutout=5)
    assert torch.equal(frames, before)


def test_the_same_generator_gives_the_same_clips() -> None:
    frames = still_clips()
    assert torch.equal(changed(frames, 3, **ALL), changed(frames, 3, **ALL))
    assert not torch.equal(changed(frames, 3, **ALL), changed(frames, 4, **ALL))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop_padding": -1}, "`crop_padding` must be 0 or more pixels, got -1"),
        ({"scale": 1.0}, r"`scale` must be in \[0, 1\), got 1.0"),
        ({"hue": 0.6}, r"`hue` must be in \[0, 0.5\], got 0.6"),
        ({"rotation_degrees": 181.0}, "`rotation_degrees` must be in"),
    ],
)
def test_values_out_of_range_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipAugmentation(**fields)


def test_changes_that_do_not_fit_the_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`crop_padding` must be smaller .*\(12 pixels\), got 12"):
        ClipAugmentation(crop_padding=12).check_frames(12, 16)
    with pytest.raises(ValueError, match=r"`cutout` must be at most .*\(12 pixels\), got 13"):
        ClipAugmentation(cutout=13).check_frames(12, 16)
