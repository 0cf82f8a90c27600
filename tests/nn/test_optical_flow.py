"""The flow says where each part of a scene went, in pixels, and nothing where nothing is seen."""

import pytest
import torch
from test_camera_motion import scene

from odevision.nn.camera_motion import align
from odevision.nn.frame_stem import frame_inputs, nothing_seen, num_inputs
from odevision.nn.optical_flow import optical_flow


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -2), (3, 3), (-4, 2)])
def test_a_shift_is_found_in_pixels_to_the_right_and_down(shift: tuple[int, int]) -> None:
    before = scene()
    now = before.roll(shift, dims=(3, 2))
    flow = optical_flow(before, now)[:, :, 8:-8, 8:-8]
    wanted = torch.tensor(shift, dtype=torch.float32)[:, None, None]
    assert flow.shape[1:] == (2, 32, 48)
    assert (flow - wanted).abs().mean() < 0.25


def test_what_moves_has_flow_and_what_stands_has_none() -> None:
    before, thing = scene(), scene(2)[1:, :, 16:32, 16:32]
    now = before.clone()
    before[:, :, 16:32, 20:36] = thing
    now[:, :, 18:34, 20:36] = thing
    flow = optical_flow(before, now)
    inside, outside = flow[0, :, 22:30, 24:32], flow[0, :, :8, :]
    assert inside[1].mean() == pytest.approx(2, abs=0.5)
    assert inside[0].abs().mean() < 0.5
    assert outside.abs().max() < 0.05


def test_frames_without_edges_have_no_flow() -> None:
    dark, bright = torch.zeros(1, 3, 48, 64), torch.ones(1, 3, 48, 64)
    assert torch.equal(optical_flow(dark, bright), torch.zeros(1, 2, 48, 64))


def test_pairs_do_not_touch_each_other_and_one_channel_is_enough() -> None:
    before = scene(3, channels=1)
    now = before.roll((1, 2), dims=(2, 3)) + 0.1 * scene(3, channels=1).flip(3)
    one = torch.cat([optical_flow(before[i : i + 1], now[i : i + 1]) for i in range(3)])
    assert torch.allclose(optical_flow(before, now), one, atol=1e-5)


def test_more_pairs_than_are_taken_at_once_have_each_their_own_flow() -> None:
    before = scene(70)[:, :, :12, :16]
    now = before.roll(1, dims=3)
    one = torch.cat([optical_flow(before[i : i + 1], now[i : i + 1]) for i in range(70)])
    assert torch.allclose(optical_flow(before, now), one, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (21, 30)])
def test_frames_of_any_size_have_a_flow(size: tuple[int, int]) -> None:
    flow = optical_flow(torch.randn(2, 3, *size), torch.randn(2, 3, *size))
    assert flow.shape == (2, 2, *size)
    assert flow.isfinite().all()


def test_the_precision_is_that_of_the_frames_also_under_autocast() -> None:
    before = scene()
    now = before.roll(1, dims=3)
    alone = optical_flow(before, now)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(optical_flow(before, now), alone)
    double = optical_flow(before.double(), now.double())
    assert double.dtype == torch.float64
    assert torch.allclose(double.float(), alone, atol=1e-3)


def test_a_network_sees_the_flow_and_then_the_difference_without_the_camera() -> None:
    frames = torch.stack([scene()[0], scene()[0].roll(2, dims=2), scene(2)[1]])[None]
    mask = torch.tensor([[True, True, False]])
    seen = frame_inputs(frames, mask, nothing_seen(frames[:, 0]), "flow")
    aligned = align(frames[:, 0], frames[:, 1])
    assert seen.shape[2] == num_inputs(3, "flow") == 5
    assert torch.allclose(seen[:, 1, :2], optical_flow(aligned, frames[:, 1]), atol=1e-4)
    assert torch.allclose(seen[:, 1, 2:], frames[:, 1] - aligned, atol=1e-4)
    assert not seen[:, [0, 2]].any()
