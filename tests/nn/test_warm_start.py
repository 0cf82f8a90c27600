"""warm_start: in training, adaptive steps start with the length that suited the batch before."""

import copy

import pytest
import torch
from torch import Tensor, nn

from odevision import ODEBlock
from odevision.models import create_model


class Field(nn.Module):
    """Rotation, whose best step is the same everywhere."""

    def __init__(self, speed: float = 3.0) -> None:
        super().__init__()
        self.speed = nn.Parameter(torch.tensor(speed, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.speed * torch.stack([-y[:, 1], y[:, 0]], 1)


def warm(**options) -> ODEBlock:
    return ODEBlock(Field(), warm_start=True, rtol=1e-5, atol=1e-5, **options)


def batch(seed: int = 0) -> Tensor:
    return torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def evaluations(block: ODEBlock, y0: Tensor) -> int:
    block(y0)
    assert block.last_stats is not None
    return block.last_stats.nfe_forward


def test_later_batches_take_fewer_evaluations_and_meet_the_tolerance() -> None:
    block = warm()
    first = evaluations(block, batch())
    later = [evaluations(block, batch(seed)) for seed in range(1, 6)]
    assert max(later) < first
    y0 = batch(7)
    angle = torch.tensor(3.0, dtype=torch.float64)
    exact = torch.stack(
        [
            angle.cos() * y0[:, 0] - angle.sin() * y0[:, 1],
            angle.sin() * y0[:, 0] + angle.cos() * y0[:, 1],
        ],
        1,
    )
    assert block.last_stats is not None
    error = (block(y0) - exact).abs().max()
    assert error < 5 * block.last_stats.num_accepted_steps * 1e-5 * (1 + y0.norm(dim=1).max())


def test_evaluation_starts_cold_and_changes_nothing() -> None:
    cold, block = ODEBlock(Field(), rtol=1e-5, atol=1e-5), warm()
    for seed in range(3):
        block(batch(seed))
    kept = float(block.dt_warm)
    block.eval()
    assert torch.equal(block(batch(9)), cold(batch(9)))
    assert float(block.dt_warm) == kept


def test_a_faster_field_shortens_the_start_again() -> None:
    block = warm()
    for seed in range(3):
        block(batch(seed))
    before = float(block.dt_warm)
    with torch.no_grad():
        block.vector_field.speed.mul_(10)
    block(batch(4))
    assert block.last_stats is not None and block.last_stats.num_rejected_steps > 0
    assert float(block.dt_warm) < before / 2
    block(batch(5))
    assert block.last_stats.num_rejected_steps == 0


def test_a_saved_block_goes_on_as_warm_as_it_was() -> None:
    block = warm()
    for seed in range(3):
        block(batch(seed))
    other = warm()
    other.load_state_dict(copy.deepcopy(block.state_dict()))
    assert torch.equal(other(batch(4)), block(batch(4)))
    assert other.last_stats == block.last_stats


def test_a_block_without_it_has_the_same_state_dict_as_its_field() -> None:
    assert [name for name in ODEBlock(Field()).state_dict()] == ["vector_field.speed"]


def test_fixed_steps_refuse_it() -> None:
    with pytest.raises(ValueError, match="`warm_start` must be False where `num_steps`"):
        warm(num_steps=4)
    with pytest.raises(ValueError, match="`warm_start` must be false where `num_steps`"):
        create_model("odenet", warm_start=True, num_steps=4)


def test_a_model_takes_it_from_its_configuration() -> None:
    model = create_model("odenet", channels=4, in_channels=1, warm_start=True, solver="tsit5")
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    model(images)
    assert float(model.block.dt_warm) > 0
