"""GateConv and the norms of the cells."""

import jaxtyping
import pytest
import torch

from odevision.nn.conv_gru import ConvGRUCell
from odevision.nn.conv_lstm import ConvLSTMCell
from odevision.nn.gate_conv import GateConv, GateNorm

NORMS: list[GateNorm] = ["none", "weight", "group"]
CELLS = [ConvGRUCell, ConvLSTMCell]


def built(norm: GateNorm, **fields) -> GateConv:
    torch.manual_seed(0)
    return GateConv(4, 6, 3, norm=norm, **fields).double()


def maps(seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, 4, 5, 7, generator=generator, dtype=torch.float64)


def test_a_weight_norm_starts_as_the_plain_convolution() -> None:
    plain, normed = built("none"), built("weight")
    assert torch.allclose(plain(maps()), normed(maps()), atol=1e-6)


def test_a_weight_norm_leaves_the_scale_of_its_filters_without_effect() -> None:
    conv = built("weight")
    before = conv(maps())
    with torch.no_grad():
        conv.conv.weight.mul_(7)
    assert torch.allclose(conv(maps()), before, atol=1e-12)


def test_a_group_norm_normalizes_each_gate_of_each_frame_by_itself() -> None:
    conv = built("group")
    gates = conv(maps(scale=30.0)).unflatten(1, (3, 6))
    assert torch.allclose(gates.mean(dim=(2, 3, 4)), torch.zeros(2, 3).double(), atol=1e-6)
    assert torch.allclose(gates.var(dim=(2, 3, 4), correction=0), torch.ones(2, 3).double(), 1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_the_bias_shifts_the_gates(norm: GateNorm) -> None:
    conv = built(norm)
    before = conv(maps())
    with torch.no_grad():
        conv.bias[7] += 2
    shift = conv(maps()) - before
    assert torch.allclose(shift[:, 7], torch.full((2, 5, 7), 2.0).double())
    assert not shift[:, :7].any() and not shift[:, 8:].any()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("norm", NORMS)
def test_cells_learn_all_their_weights_and_keep_the_states_shape(
    cell: type, norm: GateNorm
) -> None:
    torch.manual_seed(0)
    layer = cell(3, 4, norm=norm)
    state = torch.randn(2, layer.state_channels, 5, 6)
    after = layer(torch.randn(2, 3, 5, 6), state)
    assert after.shape == state.shape
    assert layer.output(after).shape == (2, 4, 5, 6)
    after.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("norm", NORMS)
def test_a_gru_state_stays_bounded_whatever_comes(norm: GateNorm) -> None:
    torch.manual_seed(0)
    cell, state = ConvGRUCell(3, 4, norm=norm), torch.zeros(2, 4, 5, 6)
    with torch.no_grad():
        for _ in range(50):
            state = cell(100 * torch.randn(2, 3, 5, 6), state)
    assert 0.9 < state.abs().max() <= 1


def test_a_forget_gate_starts_open() -> None:
    for norm in NORMS:
        assert torch.equal(ConvLSTMCell(3, 4, norm=norm).input_conv.bias[4:8], torch.ones(4))


def test_what_no_cell_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="`norm` must be 'none', 'weight' or 'group', got 'batch'"):
        ConvGRUCell(3, 4, norm="batch")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`kernel_size` must be odd, got 4"):
        ConvGRUCell(3, 4, kernel_size=4)
