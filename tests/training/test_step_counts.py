"""Random numbers of steps and the penalty on the step error in a training run."""

import dataclasses

import pytest
import torch

from odevision.models import build_model
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.training.config import TrainConfig
from odevision.training.step_counts import measure_step_error, set_step_count, step_error

MODEL = ODENetStackedConfig(
    widths=(16, 16), solver="midpoint", num_steps=1, gradient="direct", field="weight-norm"
)


def test_each_batch_draws_one_count_for_all_blocks_from_seed_epoch_and_batch() -> None:
    config = TrainConfig(model=MODEL, step_counts=(1, 2, 4), seed=3)
    model = build_model(MODEL)
    drawn = []
    for epoch, batch in [(e, b) for e in range(4) for b in range(10)]:
        set_step_count(model, config, epoch, batch)
        counts = {block.num_steps for block in model.ode_blocks()}
        assert len(counts) == 1
        drawn.append(counts.pop())
    assert set(drawn) == {1, 2, 4}
    set_step_count(model, config, 0, 0)
    assert model.ode_blocks()[0].num_steps == drawn[0]
    other = [drawn[0]]
    for epoch, batch in [(e, b) for e in range(4) for b in range(10)][1:]:
        set_step_count(model, dataclasses.replace(config, seed=4), epoch, batch)
        other.append(model.ode_blocks()[0].num_steps)
    assert other != drawn


def test_without_counts_the_models_own_stay() -> None:
    model = build_model(MODEL)
    set_step_count(model, TrainConfig(model=MODEL), 0, 0)
    assert [block.num_steps for block in model.ode_blocks()] == [1, 1]


def test_the_penalty_reaches_the_fields_and_falls_under_its_own_gradient() -> None:
    torch.manual_seed(0)
    config = TrainConfig(model=MODEL, step_error_weight=1.0)
    model = build_model(MODEL)
    measure_step_error(model, config)
    images = torch.randn(4, 3, 16, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    values = []
    for _ in range(20):
        model(images)
        error = step_error(model)
        optimizer.zero_grad()
        error.backward()
        assert model.ode_blocks()[0].vector_field.weight.grad is not None
        optimizer.step()
        values.append(error.item())
    assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize("fields", [{"step_counts": (1, 2)}, {"step_error_weight": 0.1}])
def test_models_without_equal_steps_are_refused(fields: dict) -> None:
    adaptive = dataclasses.replace(MODEL, solver="dopri5", num_steps=None)
    with pytest.raises(ValueError, match=f"`{next(iter(fields))}` must be left out"):
        TrainConfig(model=adaptive, **fields)


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="step_counts"):
        TrainConfig(model=MODEL, step_counts=(0,))


def test_a_penalty_that_the_solve_has_no_graph_for_is_refused() -> None:
    with pytest.raises(ValueError, match="`gradient` be 'direct'"):
        TrainConfig(
            model=dataclasses.replace(MODEL, gradient="checkpointed"), step_error_weight=0.1
        )
    with pytest.raises(ValueError, match="`solver` must be an explicit"):
        TrainConfig(model=dataclasses.replace(MODEL, solver="euler"), step_error_weight=0.1)
