import warnings

import pytest
import torch

from odevision.training.running_metrics import RunningMetrics

CPU = torch.device("cpu")


def logits_for(labels: list[int], num_classes: int = 3) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(labels), num_classes).float()


def test_means_weigh_images_not_batches() -> None:
    metrics = RunningMetrics(3, CPU)
    metrics.update(torch.tensor(1.0), logits_for([0, 1, 2]), torch.tensor([0, 1, 2]), (4, 2))
    metrics.update(torch.tensor(5.0), logits_for([0]), torch.tensor([1]), (8, 4))
    values = metrics.compute()
    assert values == {"loss": 2.0, "accuracy": 0.75, "nfe_forward": 6.0, "nfe_backward": 3.0}


def test_accuracy_is_the_exact_quotient() -> None:
    metrics = RunningMetrics(3, CPU)
    metrics.update(torch.tensor(0.0), logits_for([0, 0, 0]), torch.tensor([0, 1, 2]))
    assert metrics.compute()["accuracy"] == 1 / 3


def test_nothing_yet_is_zero_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RunningMetrics(3, CPU).compute()["loss"] == 0.0


@pytest.mark.parametrize("num_batches", [0, 1, 3])
def test_sums_survive_a_state_dict(num_batches: int) -> None:
    first = RunningMetrics(3, CPU)
    for i in range(num_batches):
        first.update(torch.tensor(i / 7), logits_for([0, 1]), torch.tensor([0, i % 3]), (i, 1))
    second = RunningMetrics(3, CPU)
    second.update(torch.tensor(9.0), logits_for([0]), torch.tensor([1]))
    second.load_state_dict(first.state_dict())
    assert second.compute() == first.compute()
    for metrics in (first, second):
        metrics.update(torch.tensor(0.3), logits_for([2]), torch.tensor([2]), (1, 1))
    assert second.compute() == first.compute()


def test_reset_forgets_everything() -> None:
    metrics = RunningMetrics(3, CPU)
    metrics.update(torch.tensor(1.0), logits_for([0]), torch.tensor([1]), (4, 2))
    metrics.reset()
    assert metrics.compute() == RunningMetrics(3, CPU).compute()
