import pytest
import torch
from torch import nn

from odevision.training.config import OptimizerConfig, ScheduleConfig
from odevision.training.optimizer import (
    build_optimizer,
    build_schedule,
    learning_rate_factor,
    parameter_groups,
)


def small_network() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model[3].weight.requires_grad_(False)
    return model


def test_every_trained_parameter_is_in_one_group() -> None:
    model = small_network()
    found = [id(p) for g in parameter_groups(model, OptimizerConfig()) for p in g["params"]]
    expected = [id(p) for p in model.parameters() if p.requires_grad]
    assert sorted(found) == sorted(expected)


def test_biases_and_gains_have_no_decay_and_their_own_rate() -> None:
    config = OptimizerConfig(
        learning_rate=0.1, weight_decay=0.01, norm_bias_learning_rate_scale=4.0
    )
    weights, others = build_optimizer(small_network(), config).param_groups
    assert (weights["lr"], weights["weight_decay"]) == (0.1, 0.01)
    assert (others["lr"], others["weight_decay"]) == (0.4, 0.0)
    assert all(p.ndim > 1 for p in weights["params"])
    assert all(p.ndim <= 1 for p in others["params"])


def test_a_network_can_scale_the_rate_of_some_parameters() -> None:
    class Scaled(nn.Sequential):
        def learning_rate_scale(self, name: str) -> float:
            return 0.1 if name.startswith("0.") else 1.0

    model = Scaled(nn.Linear(3, 3), nn.Linear(3, 2))
    groups = parameter_groups(model, OptimizerConfig(learning_rate=0.5))
    assert [group["lr"] for group in groups] == [0.5, 0.5, 0.05, 0.05]
    assert groups[0]["params"][0] is model[1].weight
    assert groups[3]["params"][0] is model[0].bias


def test_network_without_trained_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="requires_grad"):
        build_optimizer(nn.ReLU(), OptimizerConfig())


def test_sgd_is_nesterov_unless_there_is_no_momentum() -> None:
    assert build_optimizer(small_network(), OptimizerConfig(momentum=0.8)).defaults["nesterov"]
    plain = build_optimizer(small_network(), OptimizerConfig(momentum=0.0))
    assert not plain.defaults["nesterov"]


def test_momentum_is_the_first_beta_of_adamw() -> None:
    optimizer = build_optimizer(small_network(), OptimizerConfig(name="adamw", momentum=0.7))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["betas"] == (0.7, 0.999)


def test_schedule_rises_to_the_peak_and_falls_to_its_end() -> None:
    for name in ("cosine", "triangular"):
        config = ScheduleConfig(
            name=name, warmup_fraction=0.25, start_fraction=0.2, final_fraction=0.1
        )
        factors = [learning_rate_factor(step, 100, config) for step in range(101)]
        assert factors[0] == pytest.approx(0.2)
        assert factors[25] == pytest.approx(1.0)
        assert factors[100] == pytest.approx(0.1)
        assert factors[:26] == sorted(factors[:26])
        assert factors[25:] == sorted(factors[25:], reverse=True)


def test_cosine_and_triangle_are_half_way_down_in_the_middle() -> None:
    for name in ("cosine", "triangular"):
        config = ScheduleConfig(name=name, warmup_fraction=0.0, final_fraction=0.0)
        assert learning_rate_factor(50, 100, config) == pytest.approx(0.5)


def test_cosine_is_above_the_triangle_in_its_first_half() -> None:
    cosine, triangle = (
        learning_rate_factor(25, 100, ScheduleConfig(name=name, warmup_fraction=0.0))
        for name in ("cosine", "triangular")
    )
    assert cosine > triangle == pytest.approx(0.75)


def test_constant_stays_at_the_peak_after_the_warm_up() -> None:
    config = ScheduleConfig(name="constant", warmup_fraction=0.1, start_fraction=0.0)
    assert learning_rate_factor(5, 100, config) == pytest.approx(0.5)
    assert {learning_rate_factor(step, 100, config) for step in range(10, 101)} == {1.0}


def test_schedule_without_warm_up_starts_at_the_peak() -> None:
    assert learning_rate_factor(0, 10, ScheduleConfig(warmup_fraction=0.0)) == 1.0


def test_schedule_of_warm_up_only_never_divides_by_zero() -> None:
    config = ScheduleConfig(warmup_fraction=1.0, start_fraction=0.0)
    assert learning_rate_factor(10, 10, config) == 1.0


def test_schedule_scales_all_groups_alike() -> None:
    config = OptimizerConfig(learning_rate=0.1, norm_bias_learning_rate_scale=2.0)
    optimizer = build_optimizer(small_network(), config)
    schedule = build_schedule(optimizer, ScheduleConfig(warmup_fraction=0.0), 10)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.1])
