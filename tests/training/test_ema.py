import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from odevision.training.ema import build_ema, ema_decay_at, update_ema


def test_decay_zero_means_no_average() -> None:
    assert build_ema(nn.Linear(1, 1), 0.0) is None


def test_decay_rises_from_a_tenth_to_its_limit() -> None:
    decays = [ema_decay_at(n, 0.99) for n in range(2000)]
    assert decays[0] == pytest.approx(0.1)
    assert decays == sorted(decays)
    assert decays[-1] == 0.99


def test_average_of_constant_weights_is_these_weights() -> None:
    model = nn.Linear(2, 2)
    ema = build_ema(model, 0.9)
    assert ema is not None
    for _ in range(5):
        update_ema(ema, model, 0.9)
    torch.testing.assert_close(ema.module.weight, model.weight)


def test_average_follows_parameters_and_buffers_by_its_decay() -> None:
    model = nn.BatchNorm1d(1)
    ema = build_ema(model, 0.9)
    assert ema is not None
    update_ema(ema, model, 0.9)  # the first update copies
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.running_mean.fill_(1.0)
    update_ema(ema, model, 0.9)
    decay = ema_decay_at(1, 0.9)
    assert ema.module.weight.item() == pytest.approx(decay * 1 + (1 - decay) * 2)
    assert ema.module.running_mean.item() == pytest.approx(1 - decay)


def test_average_shares_no_memory_with_the_model() -> None:
    model = nn.Linear(1, 1)
    ema = build_ema(model, 0.9)
    assert ema is not None
    before = ema.module.weight.clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    assert torch.equal(ema.module.weight, before)


def test_update_is_bitwise_that_of_torch() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    ema = build_ema(model, 0.9)
    assert ema is not None
    expected = AveragedModel(model, use_buffers=True)
    for n in range(4):
        model(torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(n)))
        with torch.no_grad():
            model[0].weight.mul_(1.1)
        expected.multi_avg_fn = get_ema_multi_avg_fn(ema_decay_at(n, 0.9))
        expected.update_parameters(model)
        update_ema(ema, model, 0.9)
    for name, tensor in expected.state_dict().items():
        if not name.endswith("num_batches_tracked"):  # torch averages that one too
            assert torch.equal(tensor, ema.state_dict()[name])
    assert ema.module[1].num_batches_tracked.item() == 4
