"""The camera's motion is found to a part of a pixel, and taken out of the differences."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from odevision.nn.camera_motion import align, camera_motion, move
from odevision.nn.frame_stem import SeenFrame, frame_inputs, nothing_seen

PIXEL = 2 / 48  # of frames of 48 x 64, in halves of the height

MOTIONS = {
    "none": (0.0, 0.0, 0.0, 0.0),
    "right": (0.0, 0.0, 2 * PIXEL, 0.0),
    "up": (0.0, 0.0, 0.0, -1.5 * PIXEL),
    "zoom": (0.05, 0.0, 0.0, 0.0),
    "turn": (0.0, 0.05, 0.0, 0.0),
    "all": (0.03, -0.03, 3 * PIXEL, 2 * PIXEL),
}


def scene(num: int = 1, channels: int = 3) -> Tensor:
    """Frames of 48 x 64 with smooth edges everywhere."""
    torch.manual_seed(0)
    coarse = torch.randn(num, channels, 12, 16)
    return F.interpolate(coarse, (48, 64), mode="bicubic")


@pytest.mark.parametrize("name", MOTIONS)
def test_a_motion_is_found_although_something_else_moves(name: str) -> None:
    before, motion = scene(channels=1), torch.tensor([MOTIONS[name]])
    now, _ = move(before, motion)
    now[:, :, 18:34, 24:36] = torch.randn(1, 1, 16, 12)
    assert (camera_motion(before, now) - motion).abs().max() < 0.3 * PIXEL


def test_a_shift_to_the_right_is_positive() -> None:
    before = scene(channels=1)
    right = camera_motion(before, before.roll(2, dims=3))[0]
    down = camera_motion(before, before.roll(2, dims=2))[0]
    assert right[2].item() == pytest.approx(2 * PIXEL, abs=0.2 * PIXEL)
    assert down[3].item() == pytest.approx(2 * PIXEL, abs=0.2 * PIXEL)


def test_what_the_camera_did_is_taken_out_and_what_moves_stays() -> None:
    before = scene()
    now, _ = move(before, torch.tensor([MOTIONS["all"]]))
    now[:, :, 18:34, 24:36] = 3.0
    plain, left = (now - before).abs(), (now - align(before, now)).abs()
    inside = torch.zeros(48, 64, dtype=torch.bool)
    inside[18:34, 24:36] = True
    assert left[..., ~inside].mean() < 0.1 * plain[..., ~inside].mean()
    assert left[..., inside].mean() > 0.9 * plain[..., inside].mean()


def test_pairs_do_not_touch_each_other() -> None:
    before = scene(3)
    now, _ = move(before, torch.tensor([MOTIONS[name] for name in ("right", "turn", "all")]))
    one = torch.cat([align(before[i : i + 1], now[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(align(before, now), one, rtol=0, atol=1e-4)


def test_frames_that_show_nothing_do_not_move() -> None:
    flat = torch.full((2, 1, 8, 10), 0.7)
    assert camera_motion(flat, flat + 0.5).abs().max() < 0.01
    assert align(flat, torch.randn(2, 1, 8, 10)).isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 7), (48, 64)])
def test_frames_of_any_size_are_aligned(size: tuple[int, int]) -> None:
    before, now = torch.randn(2, 4, 3, *size)
    assert align(before, now).shape == before.shape


def test_float64_stays_and_half_precision_around_it_changes_nothing() -> None:
    before = scene(2)
    now, _ = move(before, torch.tensor([MOTIONS["all"], MOTIONS["zoom"]]))
    expected = align(before, now)
    double = align(before.double(), now.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected, rtol=0, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(align(before, now), expected, rtol=0, atol=0)


def test_the_gradient_reaches_both_frames() -> None:
    before, now = (frames.requires_grad_() for frames in (scene(), scene().roll(1, dims=3)))
    (now - align(before, now)).square().sum().backward()
    for frames in (before, now):
        assert frames.grad is not None and frames.grad.abs().sum() > 0


def test_first_frames_and_padding_show_no_difference() -> None:
    frames = scene(6).view(2, 3, 3, 48, 64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    nothing = nothing_seen(frames[:, 0])
    seen = frame_inputs(frames, mask, nothing, "stabilized")
    assert not seen[:, 0].any() and not seen[1, 2].any()
    assert seen[0, 1].any() and seen[1, 1].any()
    onwards = frame_inputs(frames, mask, SeenFrame(frames[:, 1], ~nothing.started), "stabilized")
    assert onwards[:, 0].any()
