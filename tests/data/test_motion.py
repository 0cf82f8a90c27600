"""`motion`: the same everywhere, told by no single frame, and real files of it."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from odevision.data.motion import (
    MOTION_CLASSES,
    MotionSet,
    Scene,
    draw_scene,
    load_motion,
    render,
    write_motion_videos,
)
from odevision.data.video import open_video


def label_of(name: str) -> int:
    return MOTION_CLASSES.index(name)


def on_black(scene: Scene) -> Scene:
    """The scene without its ground."""
    return dataclasses.replace(scene, ground=torch.zeros_like(scene.ground))


def test_splits_have_their_sizes_share_no_clip_and_all_classes_equally() -> None:
    training, validation, test = (load_motion(s) for s in ("train", "validation", "test"))
    assert (len(training), len(validation), len(test)) == (3600, 400, 1000)
    assert not set(training.indices.tolist()) & set(validation.indices.tolist())
    for part in (training, validation, test):
        assert len(set(part.labels.bincount().tolist())) == 1
    every = torch.arange(256)
    assert not torch.equal(training.frames(0, every), test.frames(0, every))
    assert len(load_motion("test", limit=30)) == 30
    with pytest.raises(ValueError, match="`validation_fraction` must be between"):
        load_motion("train", validation_fraction=1.0)


def test_a_clip_is_always_the_same_and_frames_depend_on_their_time_alone() -> None:
    motion = MotionSet("test", torch.arange(10))
    some = torch.tensor([3, 50, 255])
    assert torch.equal(motion.frames(4, some), motion.frames(4, torch.arange(256))[some])
    assert torch.equal(motion.frames(4, some), MotionSet("test", torch.arange(10)).frames(4, some))


@pytest.mark.parametrize(
    ("name", "sign"),
    [("left-slow", -1), ("left-fast", -1), ("right-slow", 1), ("right-fast", 1)],
)
def test_flags_move_as_their_class_says(name: str, sign: int) -> None:
    scene = draw_scene(label_of(name), seed=3)
    assert math.copysign(1, scene.velocity) == sign and scene.turning == 0
    is_fast = name.endswith("fast")
    assert (abs(scene.velocity) > 0.3) == is_fast


def test_a_flag_that_moves_right_is_drawn_further_right() -> None:
    scene = draw_scene(label_of("right-fast"), seed=1)
    times = torch.tensor([0.0, 4 / 32 / scene.velocity])  # four pixels later
    scene = on_black(scene)
    first, second = render(scene, times)
    assert torch.equal(first.roll(4, dims=2), second)


def test_clockwise_is_clockwise_on_the_screen() -> None:
    scene = draw_scene(label_of("clockwise-fast"), seed=1)
    assert scene.turning > 0
    # Upright in the middle, its cloth on the right.
    scene = dataclasses.replace(on_black(scene), place=torch.tensor([0.5, 0.5]), angle=0.0)
    upright, quarter = render(scene, torch.tensor([0.0, math.pi / 2 / scene.turning]))
    torch.testing.assert_close(
        upright.rot90(-1, dims=(1, 2)).float(), quarter.float(), atol=2.0, rtol=0
    )


def test_slow_and_fast_show_the_same_frames_at_other_times() -> None:
    slow = on_black(draw_scene(label_of("left-slow"), seed=7))
    fast = on_black(draw_scene(label_of("left-fast"), seed=7))
    times = torch.linspace(0.0, 1.0, 5)
    ratio = fast.velocity / slow.velocity
    assert ratio > 1.3
    assert torch.equal(render(fast, times), render(slow, times * ratio))


def test_nothing_that_moves_has_a_length_of_its_own() -> None:
    # Only then do as many frames at another rate not tell that rate.
    for name in MOTION_CLASSES[:8]:
        assert draw_scene(label_of(name), seed=2).pulsing == 0


def flag(image: Tensor) -> tuple[float, float]:
    """Area of what is not black, in pixels, and its brightness."""
    inside = image.float().amax(dim=0) > 64
    return float(inside.sum()), float(image.float()[:, inside].mean())


@pytest.mark.parametrize(("name", "sign"), [("swell-then-flash", 1), ("flash-then-swell", -1)])
def test_the_order_of_swell_and_flash_is_that_of_the_class(name: str, sign: int) -> None:
    scene = draw_scene(label_of(name), seed=5)
    assert scene.velocity == scene.turning == 0
    period = 2 * math.pi / abs(scene.pulsing)
    assert 1.0 <= period <= 1.6
    # From the largest on, quarter by quarter.
    at_largest = (-scene.phase / scene.pulsing) % period
    times = at_largest + period * torch.arange(5) / 4
    areas, brightnesses = zip(*map(flag, render(on_black(scene), times)), strict=True)
    assert areas[0] == areas[4] > areas[1] > areas[2]
    first, last = (brightnesses[1], brightnesses[3])[::sign]
    assert first > brightnesses[0] > last


def test_single_frames_look_alike_in_all_classes() -> None:
    # Mean picture and mean square of many frames at random times, class by class: were one class
    # brighter, larger or elsewhere, it would stand out by more than the noise.
    generator = torch.Generator().manual_seed(0)
    num, means = 300, []
    for label in range(len(MOTION_CLASSES)):
        times = 4 * torch.rand(num, generator=generator)
        frames = [render(draw_scene(label, 1000 * label + k), times[k : k + 1]) for k in range(num)]
        pixels = torch.cat(frames).double() / 255
        means.append(torch.stack([pixels.mean(dim=(1, 2, 3)), pixels.square().mean(dim=(1, 2, 3))]))
    values = torch.stack(means)  # classes, statistics, frames
    error = values.std(dim=2) / math.sqrt(num)
    spread = (values.mean(dim=2) - values.mean(dim=(0, 2))).abs() / error
    assert spread.max() < 4.0


def test_real_files_hold_the_clips_with_their_irregular_times(tmp_path: Path) -> None:
    files = write_motion_videos(tmp_path, num=10)
    assert [file.parent.name for file in files] == list(MOTION_CLASSES)
    with open_video(files[3]) as reader:
        frames = list(reader)
    gaps = {round(b.seconds - a.seconds, 3) for a, b in zip(frames, frames[1:], strict=False)}
    assert len(gaps) > 1
    motion = MotionSet("test", torch.arange(10))
    # The file's clock begins with its first frame, which is a little later in the clip.
    at = motion.seconds(3)
    first = min(range(256), key=lambda i: (motion.frames(3, torch.tensor([i]))[0].float()
                                            - frames[0].image.float()).abs().mean())  # fmt: skip
    chosen = [int((at - at[first] - f.seconds).abs().argmin()) for f in frames]
    original = motion.frames(3, torch.tensor(chosen)).float()
    decoded = torch.stack([frame.image for frame in frames]).float()
    assert (original - decoded).abs().mean() < 12  # half the colors' resolution is lost
