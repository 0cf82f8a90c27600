from pathlib import Path

import pytest
import torch
from torch import nn

from odevision.training.divergence import LossGuard, TrainingDivergedError, first_not_finite


def test_guard_names_the_first_bad_step_of_many() -> None:
    guard = LossGuard()
    for step, loss in enumerate([1.0, float("inf"), float("nan")]):
        guard.add(torch.tensor(loss), step=step, epoch=2)
    with pytest.raises(TrainingDivergedError, match="loss is inf at step 1 of epoch 2") as caught:
        guard.check(Path("run/checkpoints/step-00000001"))
    assert caught.value.step == 1
    assert "step-00000001" in str(caught.value)
    assert "learning_rate" in str(caught.value)


def test_guard_without_checkpoint_says_so() -> None:
    guard = LossGuard()
    guard.add(torch.tensor(float("nan")), step=0, epoch=1)
    with pytest.raises(TrainingDivergedError, match="no checkpoint yet"):
        guard.check(None)


def test_guard_forgets_what_it_has_checked() -> None:
    guard = LossGuard()
    guard.add(torch.tensor(1.0), step=0, epoch=1)
    guard.check(None)
    assert not guard._pending
    guard.check(None)


def test_guard_keeps_no_graph() -> None:
    guard = LossGuard()
    guard.add(torch.ones((), requires_grad=True) * 2, step=0, epoch=1)
    assert guard._pending[0][2].grad_fn is None


def test_weight_that_is_not_finite_is_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert first_not_finite(model.state_dict()) is None
    with torch.no_grad():
        model[1].running_var[0] = float("nan")
    assert first_not_finite(model.state_dict()) == "1.running_var"
    assert first_not_finite(nn.ReLU().state_dict()) is None
