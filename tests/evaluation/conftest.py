from pathlib import Path

import pytest
import torch

from odevision.data.sources import dataset_info, preprocessing_for
from odevision.evaluation.calibration import Calibration
from odevision.models.odenet import ODENetConfig
from odevision.models.registry import build_model
from odevision.training.checkpoint import (
    Card,
    LoadedModel,
    load_checkpoint,
    save_checkpoint,
    solver_of,
    stored_weights,
)
from odevision.training.config import model_to_dict


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """An untrained ODE-Net for digits, saved and loaded again."""
    torch.manual_seed(0)
    config = ODENetConfig(channels=16, solver="midpoint", num_steps=2)
    info = dataset_info("mnist-mini")
    values = model_to_dict(config)
    name = values.pop("name")
    model = build_model(config)
    card = Card(
        model_name=name,
        model=values,
        preprocessing=preprocessing_for(info).to_dict(),
        class_names=info.class_names,
        dataset="mnist-mini",
        solver=solver_of(values),
    )
    run = tmp_path_factory.mktemp("untrained")
    return load_checkpoint(_saved(run, model, card))


def _saved(run: Path, model: torch.nn.Module, card: Card) -> Path:
    return save_checkpoint(run, weights=stored_weights(model), card=card)


@pytest.fixture
def calibration() -> Calibration:
    """Round numbers."""
    return Calibration(
        temperature=2.0,
        floor=0.02,
        ece_before=0.1,
        ece_temperature=0.03,
        ece_after=0.01,
        loss_before=0.5,
        loss_after=0.4,
        unknown_score="feature",
        unknown_threshold=0.7,
        min_probability=0.4,
        elsewhere_min_probability=0.6,
        kept_share=0.95,
        kept_accuracy=0.97,
        num_images=2_500,
        solver={"solver": "midpoint"},
        auroc={"feature": {"textures": 0.9}},
    )
