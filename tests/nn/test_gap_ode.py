"""GapODE: each sample evolves over a gap of its own."""

import copy

import pytest
import torch
from torch import Tensor, nn

from odevision.nn.gap_ode import GapODE, recomputing
from odevision.nn.gru_ode import GRUODEField
from odevision.nn.weight_norm_field import WeightNormField


class Decay(nn.Module):
    """dy/dt = -y, whose solution is known."""

    def forward(self, s: Tensor, y: Tensor) -> Tensor:
        return -y


def states(batch: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 8, 4, 5, generator=generator, dtype=torch.float64) * 2 - 1


def field(seed: int = 0) -> GRUODEField:
    torch.manual_seed(seed)
    return GRUODEField(8).double()


def test_each_sample_decays_over_its_own_gap() -> None:
    gaps = torch.tensor([0.0, 0.3, 2.5], dtype=torch.float64)
    y = states()
    y1 = GapODE(Decay(), solver="rk4", num_steps=16)(y, gaps)
    expected = y * torch.exp(-gaps)[:, None, None, None]
    assert torch.allclose(y1, expected, rtol=1e-5)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "reversible"])
@pytest.mark.parametrize("num_steps", [1, None])
def test_a_gap_of_zero_is_the_identity_to_the_bit(num_steps: int | None, gradient: str) -> None:
    layer = GapODE(field(), num_steps=num_steps, solver="heun", gradient=gradient)
    y = states()
    assert torch.equal(layer(y, torch.zeros(3, dtype=torch.float64)), y)
    mixed = layer(y, torch.tensor([0.0, 3.7, 0.0], dtype=torch.float64))
    assert torch.equal(mixed[0], y[0]) and torch.equal(mixed[2], y[2])
    assert not torch.equal(mixed[1], y[1])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.77])
def test_splitting_a_gap_changes_nothing_beyond_the_tolerance(share: float) -> None:
    layer = GapODE(field(), solver="dopri5", num_steps=None, rtol=1e-8, atol=1e-8)
    y, gaps = states(), torch.tensor([0.4, 1.0, 3.0], dtype=torch.float64)
    parts = layer(layer(y, share * gaps), (1 - share) * gaps)
    assert torch.allclose(parts, layer(y, gaps), atol=1e-6)


def test_splitting_at_whole_steps_is_exact_with_equal_steps() -> None:
    layer = GapODE(field(), max_step=0.5)
    y, gaps = states(), torch.tensor([2.0, 1.25, 3.0], dtype=torch.float64)
    whole = layer(y, gaps)
    one = torch.full((3,), 1.0, dtype=torch.float64)
    assert torch.allclose(layer(layer(y, one), gaps - 1), whole, atol=1e-12)


def test_no_sample_depends_on_the_gaps_of_the_others() -> None:
    layer = GapODE(field())
    y, gaps = states(), torch.tensor([0.7, 5.3, 1.0], dtype=torch.float64)
    together = layer(y, gaps)
    for i in range(3):
        assert torch.allclose(layer(y[i : i + 1], gaps[i : i + 1])[0], together[i], atol=1e-14)


def test_long_gaps_take_more_pieces_and_end_at_a_place_of_rest() -> None:
    layer = GapODE(field(), max_gap=64.0)
    y = states()
    at = [layer(y, torch.full((3,), gap, dtype=torch.float64)) for gap in (40.0, 63.9, 1e6)]
    assert at[2].abs().max() <= 1
    assert torch.allclose(at[1], at[2], atol=1e-3)
    layer.reset_stats()
    layer(y, torch.full((3,), 1e6, dtype=torch.float64))
    assert layer.last_stats is not None
    assert layer.last_stats.nfe_forward == 2 * 64


def test_the_longest_gap_of_each_frame_decides_how_many_pieces() -> None:
    layer = GapODE(Decay(), max_step=1.0)
    gaps = torch.tensor([[0.0, 1.0, 2.5], [0.0, 0.2, 1.0 + 1e-6]])
    assert layer.num_pieces(gaps) == [1, 1, 3]
    assert layer.num_pieces(torch.tensor([[1.0 + 1e-6]])) == [1]
    assert GapODE(Decay(), solver="heun", num_steps=None).num_pieces(gaps) == [1, 1, 1]


def test_pieces_fill_the_gap_and_stop_where_it_ends() -> None:
    layer = GapODE(Decay(), max_step=1.0)
    gaps = torch.tensor([2.5, 0.4, 0.0])
    lengths, begins, ends = zip(*layer.pieces(gaps, 3), strict=True)
    assert torch.allclose(torch.stack(lengths), torch.tensor([[1, 0.4, 0], [1, 0, 0], [0.5, 0, 0]]))
    assert torch.allclose(begins[1], torch.tensor([0.4, 1.0, 1.0]))
    assert torch.allclose(ends[-1], torch.ones(3))


def test_gradients_reach_state_gap_and_weights() -> None:
    layer = GapODE(field())
    y = states().requires_grad_()
    gaps = torch.tensor([0.5, 1.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (y[:1, :, :2, :2], gaps[:1]), eps=1e-6, atol=1e-5)
    layer(y, gaps).sum().backward()
    assert gaps.grad is not None and gaps.grad.abs().min() > 0
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())


def test_evaluations_add_up_over_gaps_and_repeats_count_as_backward() -> None:
    layer = GapODE(field())
    gaps = torch.ones(3, dtype=torch.float64)
    assert layer.last_stats is None
    y = layer(layer(states(), gaps), 2 * gaps)
    with recomputing():
        layer(y, gaps)
    assert layer.last_stats is not None
    assert (layer.last_stats.nfe_forward, layer.last_stats.nfe_backward) == (6, 2)
    with torch.no_grad():
        layer(y, gaps)
    assert layer.last_stats.nfe_forward == 8
    layer.reset_stats()
    assert layer.last_stats is None


def test_checkpointed_gradient_counts_its_repeats_and_copies_count_anew() -> None:
    layer = GapODE(field(), gradient="checkpointed")
    y = layer(states().requires_grad_(), torch.ones(3, dtype=torch.float64))
    assert copy.deepcopy(layer).last_stats is None
    y.sum().backward()
    assert layer.last_stats is not None
    assert layer.last_stats.nfe_backward == 2


@pytest.mark.parametrize("name", ["max_step", "max_gap"])
def test_lengths_that_are_not_positive_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        GapODE(Decay(), **{name: 0.0})


def test_batch_norm_in_the_field_is_refused() -> None:
    with pytest.raises(ValueError, match="BatchNorm"):
        GapODE(nn.BatchNorm2d(4))


def test_step_errors_are_refused_and_the_settings_shown() -> None:
    layer = GapODE(Decay(), solver="rk4", max_step=0.5)
    layer.measures_step_error = False
    with pytest.raises(ValueError, match="step_error_weight=0"):
        layer.measures_step_error = True
    assert "solver=rk4, num_steps=1, max_step=0.5" in repr(layer)
    assert layer.last_step_error is None


def test_what_a_field_prepares_is_made_where_it_is_not_given() -> None:
    torch.manual_seed(0)
    layer = GapODE(WeightNormField(8).double())
    y, gaps = states(), torch.tensor([0.5, 1.0, 1.7], dtype=torch.float64)
    assert torch.equal(layer(y, gaps), layer(y, gaps, layer.prepare(y)))


@pytest.mark.parametrize("bad", [-0.5, float("nan")])
def test_gaps_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="`gaps` must be 0 or more"):
        GapODE(Decay())(states(), torch.tensor([1.0, 2.0, bad], dtype=torch.float64))


def test_solves_that_nobody_counts_are_forgotten_but_for_their_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("odevision.nn.gap_ode._MOST_COSTS", 10)
    gap_ode, gaps = GapODE(Decay()), torch.ones(3, dtype=torch.float64)
    for _ in range(25):
        gap_ode(states(), gaps)
    assert len(gap_ode._costs) <= 10
    assert gap_ode.last_stats is not None and gap_ode.last_stats.nfe_forward == 2 * 25
