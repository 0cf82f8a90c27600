"""Every recipe builds, survives YAML, and its network takes an optimizer step at a debug size."""

import dataclasses

import pytest
import torch

from odevision.data.registry import DATASETS
from odevision.models import build_model, total_nfe
from odevision.models.registry import takes_videos
from odevision.recipes import RECIPES, list_recipes
from odevision.training.config import from_yaml, to_yaml
from odevision.training.optimizer import build_optimizer
from odevision.training.video_data import VideoDataConfig
from odevision.types import Clips


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_bears_its_own_name_and_states_command_time_and_result(name: str) -> None:
    assert RECIPES[name]().recipe == name
    text = RECIPES[name].__doc__ or ""
    assert f"Command: odevision train {name}" in text
    assert "Time: " in text and "Result: " in text


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_survives_yaml(name: str) -> None:
    config = RECIPES[name]()
    assert from_yaml(to_yaml(config)) == config


# The recipe of folders has no data of its own; tests/recipes/test_folder_recipe.py tries it.
VIDEO_RECIPES = [name for name in list_recipes() if takes_videos(RECIPES[name]().model)]
IMAGE_RECIPES = [name for name in list_recipes() if name not in (*VIDEO_RECIPES, "folder")]


@pytest.mark.parametrize("name", IMAGE_RECIPES)
def test_a_recipe_fits_its_data_and_takes_two_steps(name: str) -> None:
    torch.manual_seed(0)
    config = RECIPES[name]()
    info = DATASETS[config.data.name]
    assert config.model.in_channels == info.num_channels
    assert config.model.num_classes == len(info.class_names)
    model = build_model(config.model)
    gentle = dataclasses.replace(config.optimizer, learning_rate=1e-3)
    optimizer = build_optimizer(model, gentle)
    images = torch.randn(4, info.num_channels, info.image_size, info.image_size)
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(images), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    assert total_nfe(model) > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", VIDEO_RECIPES)
def test_a_recipe_for_videos_takes_two_steps_on_clips_of_its_size(name: str) -> None:
    torch.manual_seed(0)
    config = RECIPES[name]()
    assert isinstance(config.data, VideoDataConfig)
    model = build_model(config.model)
    gentle = dataclasses.replace(config.optimizer, learning_rate=1e-3)
    optimizer = build_optimizer(model, gentle)
    clips = Clips(
        frames=torch.randn(2, 4, 3, *config.data.preprocessing.size),
        seconds=torch.arange(4).expand(2, 4) / config.data.sampling.rate,
        mask=torch.ones(2, 4, dtype=torch.bool),
    )
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(clips), torch.arange(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    assert total_nfe(model) > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
