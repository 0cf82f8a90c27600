"""Every network of images in the registry works, whatever it is."""

import copy
import dataclasses
from pathlib import Path

import jaxtyping
import pytest
import torch
from safetensors.torch import load_file, save_file

from odevision import create_model, list_models, list_solvers
from odevision.models import (
    MODELS,
    build_model,
    config_from_dict,
    model_name,
    total_nfe,
)
from odevision.models.registry import takes_videos

# tests/models/test_video_registry.py has the others.
NAMES = [name for name in list_models() if not takes_videos(MODELS[name].config())]


def images_for(name: str, batch: int = 4) -> torch.Tensor:
    channels = MODELS[name].config().in_channels
    side = 28 if channels == 1 else 32
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_the_paper_network_has_the_paper_number_of_parameters() -> None:
    assert sum(p.numel() for p in create_model("odenet").parameters()) == 208_266


@pytest.mark.parametrize(
    ("name", "fields"),
    [("odenet", {}), ("odenet-stacked", {"like": "odenet-stacked", "in_channels": 3})],
)
def test_the_baseline_matches_the_parameters_of_its_twin(name: str, fields: dict) -> None:
    twin = sum(p.numel() for p in create_model(name).parameters())
    baseline = sum(p.numel() for p in create_model("resnet", **fields).parameters())
    assert 0.98 * twin < baseline <= twin


@pytest.mark.parametrize("name", NAMES)
def test_a_network_gives_a_score_a_class_and_gradients_to_all_it_trains(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=7)
    logits = model(images_for(name))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_a_file(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, images = create_model(name).eval(), images_for(name)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    again = create_model(name).eval()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(model(images), again(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_overfits_one_batch(name: str) -> None:
    torch.manual_seed(0)
    model, images, labels = create_model(name), images_for(name, 8), torch.arange(8)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(images).argmax(1) == labels).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_a_network_that_has_run_answers_alike(name: str) -> None:
    model, images = create_model(name).eval(), images_for(name)
    model(images).sum().backward()
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(images), model(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_survives_plain_values(name: str) -> None:
    config = MODELS[name].config(num_classes=3)
    assert model_name(config) == name
    assert config_from_dict(name, dataclasses.asdict(config)) == config
    assert type(build_model(config)) is MODELS[name].model


def test_total_nfe_adds_up_the_blocks() -> None:
    model = create_model("odenet-stacked", solver="midpoint", num_steps=3)
    model(images_for("odenet-stacked"))
    assert total_nfe(model) == 3 * 2 * 3
    assert total_nfe(create_model("resnet")) == 0


def test_an_unknown_network_is_refused_with_the_closest_name() -> None:
    with pytest.raises(ValueError, match="Did you mean 'odenet'"):
        create_model("odnet")


def test_an_unknown_field_is_refused_with_the_closest_name() -> None:
    with pytest.raises(ValueError, match="Did you mean 'num_steps'"):
        create_model("odenet", num_step=3)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("odenet", {"channels": 33}, "`channels` must be a multiple of 32"),
        ("odenet", {"num_classes": 0}, "`num_classes` must be at least 1"),
        ("odenet", {"num_steps": 0}, "`num_steps` must be at least 1"),
        ("odenet", {"solver": "rk4"}, "`num_steps` must be given"),
        ("odenet", {"rtol": 0.0, "atol": 0.0}, "`rtol` and `atol`"),
        ("odenet-stacked", {"widths": (20,)}, "`widths` must be multiples of 16"),
        ("resnet", {"widths": (64, 64)}, "`widths` must hold one number"),
        ("resnet", {"widths": ()}, "`widths` must be channels that the norm"),
        ("resnet", {"widths": (33,)}, "`widths` must be channels that the norm"),
        ("resnet", {"widths": (), "like": "odenet-stacked"}, "`widths` must be channels that"),
        ("resnet", {"widths": (20,), "like": "odenet-stacked"}, "`widths` must be channels that"),
        ("resnet", {"blocks_per_stage": 0}, "`blocks_per_stage` must be at least 1"),
    ],
)
def test_values_out_of_range_are_refused(name: str, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model(name, **fields)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("odenet", {"solver": "dopri6"}, "Did you mean 'dopri8' or 'dopri5'"),
        ("odenet", {"gradient": "adjoint"}, "`gradient` must be one of direct, checkpointed"),
        ("resnet", {"like": "odnet"}, "`like` must be 'odenet' or 'odenet-stacked'"),
    ],
)
def test_words_that_are_no_choice_are_refused(
    name: str, fields: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Users have no type checker around the call; it would speak first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        create_model(name, **fields)


def test_fine_steps_of_a_stacked_network_agree_with_a_tight_tolerance() -> None:
    torch.manual_seed(0)
    coarse = create_model("odenet-stacked", num_steps=8).eval()
    fine = create_model("odenet-stacked", solver="dopri5", num_steps=None, rtol=1e-6, atol=1e-6)
    fine.load_state_dict(coarse.state_dict())
    with torch.no_grad():
        images = images_for("odenet-stacked")
        a, b = coarse(images), fine.eval()(images)
    assert (a - b).norm() < 0.02 * b.norm()


@pytest.mark.parametrize("solver", list_solvers())
def test_a_config_takes_every_solver(solver: str) -> None:
    assert create_model("odenet", solver=solver, num_steps=2) is not None


def test_a_config_names_the_closest_solver() -> None:
    with pytest.raises(
        ValueError, match="`solver` must be one of .* Did you mean 'dopri8' or 'dopri5'"
    ):
        create_model("odenet", solver="dopri")
