"""video-r2plus1d: a network over whole clips, in which padding must leave no trace."""

import pytest
import torch

from odevision.models.video_r2plus1d import FactorizedConv, VideoR2Plus1D, VideoR2Plus1DConfig
from odevision.types import Clips


def network() -> VideoR2Plus1D:
    torch.manual_seed(0)
    model = VideoR2Plus1D(VideoR2Plus1DConfig(widths=(8, 16, 16)))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.normal_(module.bias)  # so that empty steps would not stay empty
    return model.eval()


def clips(batch: int, time: int) -> Clips:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(batch, time, 3, 20, 28, generator=generator)
    seconds = torch.arange(time).float().expand(batch, -1).clone()
    return Clips(frames, seconds, torch.ones(batch, time, dtype=torch.bool))


@pytest.mark.parametrize("time", [1, 2, 3, 4, 5, 6, 7, 8])
def test_padding_changes_no_answer(time: int) -> None:
    model, whole = network(), clips(batch=2, time=9)
    whole.mask[1, time:] = False
    whole.frames[1, time:] = 50.0
    alone = Clips(*(tensor[1:, :time] for tensor in whole))
    with torch.no_grad():
        assert torch.allclose(model(whole)[1], model(alone)[0], atol=1e-6)


def test_no_sample_touches_another() -> None:
    model, whole = network(), clips(batch=3, time=6)
    with torch.no_grad():
        together = model(whole)
        for i in range(3):
            alone = Clips(*(tensor[i : i + 1] for tensor in whole))
            assert torch.allclose(model(alone)[0], together[i], atol=1e-6)


def test_the_order_of_the_frames_matters_and_their_times_do_not() -> None:
    model, whole = network(), clips(batch=1, time=6)
    with torch.no_grad():
        backward = model(whole._replace(frames=whole.frames.flip(1)))
        assert not torch.allclose(model(whole), backward, atol=1e-4)
        assert torch.equal(model(whole), model(whole._replace(seconds=9 * whole.seconds)))


def test_a_stage_halves_height_width_and_time() -> None:
    stage = FactorizedConv(3, 8, time_stride=2)
    x, mask = stage(torch.randn(2, 3, 7, 20, 27), torch.ones(2, 7, dtype=torch.bool))
    assert x.shape == (2, 8, 4, 10, 14) and mask.shape == (2, 4)
