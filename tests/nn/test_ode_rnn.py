"""Recurrent layers between frames and through them: ODERNN, DrivenODE and their cells."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odevision.nn.conv_gru import ConvGRUCell
from odevision.nn.conv_lstm import ConvLSTMCell
from odevision.nn.driven_ode import DrivenODE
from odevision.nn.gap_ode import GapODE
from odevision.nn.gru_ode import GRUODEField
from odevision.nn.ode_rnn import ODERNN

Layer = Callable[[], nn.Module]


def gru() -> ODERNN:
    return ODERNN(ConvGRUCell(3, 8), GapODE(GRUODEField(8)))


def lstm() -> ODERNN:
    return ODERNN(ConvLSTMCell(3, 8), GapODE(GRUODEField(16)))


def without_ode() -> ODERNN:
    return ODERNN(ConvGRUCell(3, 8), None)


def driven() -> DrivenODE:
    return DrivenODE(3, 8)


LAYERS = [gru, lstm, driven]


def built(make: Layer, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return make().double()


def clip(batch: int = 2, time: int = 5, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, time, 3, 4, 5, generator=generator, dtype=torch.float64)
    gaps = torch.rand(batch, time, generator=generator, dtype=torch.float64) * 2.5
    gaps[:, 0] = 0
    return x, gaps, torch.ones(batch, time, dtype=torch.bool)


def test_conv_gru_is_torchs_gru_on_one_pixel() -> None:
    torch.manual_seed(0)
    cell = ConvGRUCell(3, 4, kernel_size=1).double()
    reference = nn.GRUCell(3, 4).double()
    order = torch.cat([torch.arange(4, 8), torch.arange(4), torch.arange(8, 12)])  # z, r, n
    with torch.no_grad():
        cell.input_conv.conv.weight.copy_(reference.weight_ih[order][:, :, None, None])
        cell.input_conv.bias.copy_(reference.bias_ih[order])
        cell.state_conv.conv.weight.copy_(reference.weight_hh[order][:, :, None, None])
        cell.state_conv.bias.copy_(reference.bias_hh[order])
    x, h = torch.randn(5, 3).double(), torch.randn(5, 4).double()
    found = cell(x[:, :, None, None], h[:, :, None, None])
    assert torch.allclose(found[:, :, 0, 0], reference(x, h), atol=1e-12)


def test_conv_lstm_is_torchs_lstm_on_one_pixel() -> None:
    torch.manual_seed(0)
    cell = ConvLSTMCell(3, 4, kernel_size=1).double()
    reference = nn.LSTMCell(3, 4).double()
    order = torch.cat([torch.arange(8), torch.arange(12, 16), torch.arange(8, 12)])  # i, f, o, g
    with torch.no_grad():
        cell.input_conv.conv.weight.copy_(reference.weight_ih[order][:, :, None, None])
        cell.input_conv.bias.copy_((reference.bias_ih + reference.bias_hh)[order])
        cell.state_conv.conv.weight.copy_(reference.weight_hh[order][:, :, None, None])
    x, h, c = torch.randn(5, 3).double(), torch.randn(5, 4).double(), torch.randn(5, 4).double()
    found = cell(x[:, :, None, None], torch.cat([h, c], dim=1)[:, :, None, None])[:, :, 0, 0]
    assert torch.allclose(found, torch.cat(reference(x, (h, c)), dim=1), atol=1e-12)
    assert torch.equal(cell.output(found[:, :, None, None])[:, :, 0, 0], found[:, :4])


@pytest.mark.parametrize("make", LAYERS)
def test_a_frame_changes_no_answer_before_it(make: Layer) -> None:
    layer = built(make)
    x, gaps, mask = clip()
    before, _ = layer(x, gaps, mask, layer.initial_state(2, 4, 5))
    x[:, 3:], gaps[:, 3:] = 7.0, 0.1
    after, _ = layer(x, gaps, mask, layer.initial_state(2, 4, 5))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


@pytest.mark.parametrize("make", [*LAYERS, without_ode])
def test_frames_one_by_one_give_what_they_give_together(make: Layer) -> None:
    layer = built(make)
    x, gaps, mask = clip()
    together, _ = layer(x, gaps, mask, layer.initial_state(2, 4, 5))
    state, apart = layer.initial_state(2, 4, 5), []
    for i in range(x.shape[1]):
        output, state = layer(x[:, i : i + 1], gaps[:, i : i + 1], mask[:, i : i + 1], state)
        apart.append(output)
    assert torch.allclose(torch.cat(apart, dim=1), together, atol=1e-12)


@pytest.mark.parametrize("make", LAYERS)
def test_samples_do_not_touch_each_other(make: Layer) -> None:
    layer = built(make)
    x, gaps, mask = clip(batch=3)
    gaps[1] *= 4  # takes more pieces than the others
    together, _ = layer(x, gaps, mask, layer.initial_state(3, 4, 5))
    for i in range(3):
        one = slice(i, i + 1)
        alone, _ = layer(x[one], gaps[one], mask[one], layer.initial_state(1, 4, 5))
        assert torch.allclose(alone[0], together[i], atol=1e-12)


@pytest.mark.parametrize("make", [*LAYERS, without_ode])
def test_padding_changes_neither_state_nor_output(make: Layer) -> None:
    layer = built(make)
    x, gaps, mask = clip()
    _, expected = layer(x[:1, :3], gaps[:1, :3], mask[:1, :3], layer.initial_state(1, 4, 5))
    mask[0, 3:], x[0, 3:], gaps[0, 3:] = False, 99.0, 0.0
    outputs, state = layer(x, gaps, mask, layer.initial_state(2, 4, 5))
    pairs = zip(state, expected, strict=True) if isinstance(state, tuple) else [(state, expected)]
    for found, wanted in pairs:
        assert torch.allclose(found[0].double(), wanted[0].double(), atol=1e-12)
    assert torch.equal(outputs[0, 4], outputs[0, 2])


@pytest.mark.parametrize("make", LAYERS)
def test_the_gap_before_a_frame_matters(make: Layer) -> None:
    layer = built(make)
    x, gaps, mask = clip()
    one, _ = layer(x, gaps, mask, layer.initial_state(2, 4, 5))
    other, _ = layer(x, 2 * gaps, mask, layer.initial_state(2, 4, 5))
    assert not torch.allclose(one[:, -1], other[:, -1], atol=1e-4)


@pytest.mark.parametrize("size", [1, 100])
def test_a_driven_state_follows_a_frame_that_lasts_and_stays_bounded(size: float) -> None:
    layer = built(driven)
    x, _, mask = clip(time=3)
    x = size * x[:, :1].expand(-1, 3, -1, -1, -1)
    gaps = torch.tensor([[0.0, 60.0, 10.0]], dtype=torch.float64).expand(2, 3)
    outputs, _ = layer(x, gaps, mask, layer.initial_state(2, 4, 5))
    assert outputs.abs().max() <= 1
    if size == 1:  # Large inputs shut gates, and the state rests where it is.
        assert torch.allclose(outputs[:, 1], outputs[:, 2], atol=1e-3)


def test_how_fast_a_frame_changes_drives_the_state_too() -> None:
    layer = built(driven)
    x, gaps, mask = clip(time=2)
    layer.input_conv.weight.data[: 2 * layer.channels] = 0  # so that values say nothing
    still = x[:, :1].expand(-1, 2, -1, -1, -1)
    gaps[:, 1] = 1.0
    (unmoved, _), (moved, _) = (
        layer(frames, gaps, mask, layer.initial_state(2, 4, 5)) for frames in (still, x)
    )
    assert not torch.allclose(unmoved[:, 1], moved[:, 1], atol=1e-3)


def test_a_frame_on_the_straight_line_changes_nothing_in_a_driven_state() -> None:
    layer = built(driven)
    layer.evolve.max_step, layer.evolve.num_steps = 10.0, 40
    x, gaps, mask = clip(time=3)
    x[:, 1], gaps[:, 1:] = 0.75 * x[:, 0] + 0.25 * x[:, 2], torch.tensor([0.25, 0.75]).double()
    outputs, _ = layer(x, gaps, mask, layer.initial_state(2, 4, 5))
    without = x[:, ::2], torch.tensor([[0.0, 1.0]]).double().expand(2, 2), mask[:, ::2]
    expected, _ = layer(*without, layer.initial_state(2, 4, 5))
    assert torch.allclose(outputs[:, 2], expected[:, 1], atol=1e-4)


def test_a_driven_gap_is_a_straight_line_however_many_pieces_it_takes() -> None:
    coarse, fine = built(driven), built(driven)
    fine.evolve.max_step = coarse.evolve.max_step / 128
    coarse.evolve.max_step /= 32
    x, gaps, mask = clip(time=2)
    gaps[:, 1] = torch.tensor([1.9, 0.8], dtype=torch.float64)
    found = [layer(x, gaps, mask, layer.initial_state(2, 4, 5))[0] for layer in (coarse, fine)]
    assert torch.allclose(found[0], found[1], atol=1e-4)
    single = built(driven)
    single.evolve.max_step, single.evolve.num_steps, single.evolve.solver = 10.0, 40, "rk4"
    exact = single(x, gaps, mask, single.initial_state(2, 4, 5))[0]
    assert torch.allclose(exact, found[1], atol=1e-5)


def test_driven_first_frame_has_an_answer_that_depends_on_it() -> None:
    layer = built(driven)
    x, gaps, mask = clip(time=1)
    one, _ = layer(x, gaps, mask, layer.initial_state(2, 4, 5))
    other, _ = layer(-x, gaps, mask, layer.initial_state(2, 4, 5))
    assert one.abs().max() > 0.01 and not torch.allclose(one, other)


def test_with_adaptive_steps_samples_agree_with_themselves_alone_to_the_tolerance() -> None:
    torch.manual_seed(0)
    ode = GapODE(GRUODEField(8), solver="dopri5", num_steps=None, rtol=1e-6, atol=1e-6)
    layer = ODERNN(ConvGRUCell(3, 8), ode).double()
    x, gaps, mask = clip(batch=3)
    gaps[1] *= 4
    together, _ = layer(x, gaps, mask, layer.initial_state(3, 4, 5))
    for i in range(3):
        one = slice(i, i + 1)
        alone, _ = layer(x[one], gaps[one], mask[one], layer.initial_state(1, 4, 5))
        assert torch.allclose(alone[0], together[i], atol=1e-5)
