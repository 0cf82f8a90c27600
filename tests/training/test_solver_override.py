from pathlib import Path

import pytest
import torch

from odevision.data.preprocessing import Preprocessing
from odevision.models.odenet import ODENet, ODENetConfig
from odevision.training.checkpoint import (
    Card,
    load_checkpoint,
    save_checkpoint,
    solver_of,
    stored_weights,
)
from odevision.training.config import model_to_dict
from odevision.training.solver_override import overridden_solver

SOLVER = {"solver": "midpoint", "num_steps": 2, "rtol": 1e-3, "atol": 1e-3, "gradient": "direct"}


def test_a_budget_becomes_steps_of_the_solver_asked_for() -> None:
    assert overridden_solver("m", SOLVER, {"nfe": 8}) == {"num_steps": 4}
    changed = overridden_solver("m", SOLVER, {"nfe": 8, "solver": "rk4"})
    assert changed == {"solver": "rk4", "num_steps": 2}


def test_a_tolerance_makes_the_steps_adaptive() -> None:
    changed = overridden_solver("m", SOLVER, {"solver": "dopri5", "rtol": 1e-5})
    assert changed == {"solver": "dopri5", "rtol": 1e-5, "num_steps": None}


@pytest.mark.parametrize("given", [{"nfe": 4, "num_steps": 2}, {"nfe": 4, "atol": 1e-3}])
def test_two_statements_of_the_steps_are_refused(given: dict) -> None:
    with pytest.raises(ValueError, match="`nfe` must not be given together"):
        overridden_solver("m", SOLVER, given)


def test_a_model_without_ode_has_no_budget() -> None:
    with pytest.raises(ValueError, match="`nfe` cannot be set: the model resnet has no ODE"):
        overridden_solver("resnet", {}, {"nfe": 4})


def test_a_network_trained_with_a_warm_start_is_solved_with_constant_steps(tmp_path: Path) -> None:
    config = ODENetConfig(channels=4, warm_start=True)
    values = model_to_dict(config)
    name = values.pop("name")
    card = Card(
        model_name=name,
        model=values,
        preprocessing=Preprocessing(
            image_size=28, num_channels=1, mean=(0.1,), std=(0.3,)
        ).to_dict(),
        class_names=tuple("0123456789"),
        dataset="mnist-mini",
        solver=solver_of(values),
    )
    save_checkpoint(tmp_path, weights=stored_weights(ODENet(config)), card=card)
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    fine = load_checkpoint(tmp_path, nfe=60)
    assert fine.card.solver["num_steps"] == 10
    with torch.inference_mode():
        expected = load_checkpoint(tmp_path, rtol=1e-6, atol=1e-6).model(images)
        assert torch.allclose(fine.model(images), expected, atol=1e-3)
