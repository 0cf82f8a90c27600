"""Every video network of the registry works, whatever it is."""

import copy
import dataclasses
from pathlib import Path

import jaxtyping
import pytest
import torch
from safetensors.torch import load_file, save_file

from odevision import create_model
from odevision.models.registry import takes_videos
from odevision.models.video_registry import (
    VIDEO_MODELS,
    VideoModel,
    build_video_model,
    count_parameters,
    match_parameters,
)
from odevision.types import Clips

NAMES = list(VIDEO_MODELS)


def clips(batch: int = 4, time: int = 5) -> Clips:
    generator = torch.Generator().manual_seed(0)
    return Clips(
        frames=torch.randn(batch, time, 3, 20, 28, generator=generator),
        seconds=(torch.rand(batch, time, generator=generator) / 4).cumsum(dim=1),
        mask=torch.ones(batch, time, dtype=torch.bool),
    )


def network(name: str, seed: int = 0, **fields) -> VideoModel:
    torch.manual_seed(seed)
    return build_video_model(VIDEO_MODELS[name].config(**fields))


def test_they_stand_in_the_registry_of_all_networks() -> None:
    for name in NAMES:
        assert type(create_model(name)) is VIDEO_MODELS[name].model
        assert takes_videos(VIDEO_MODELS[name].config())


def test_all_have_about_the_same_number_of_parameters() -> None:
    counts = {name: count_parameters(entry.config()) for name, entry in VIDEO_MODELS.items()}
    assert max(counts.values()) <= 1.05 * min(counts.values()), counts
    assert all(190_000 < count < 210_000 for count in counts.values()), counts


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_parameters", [120_000, 600_000])
def test_widths_are_found_for_a_number_of_parameters(name: str, num_parameters: int) -> None:
    config = match_parameters(name, num_parameters, num_classes=3)
    assert count_parameters(config) == pytest.approx(num_parameters, rel=0.08)
    assert config.num_classes == 3
    built = build_video_model(config)
    assert sum(p.numel() for p in built.parameters()) == count_parameters(config)


def test_matching_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(ValueError, match="`num_parameters` must be at least .* for video-odernn"):
        match_parameters("video-odernn", 100)
    with pytest.raises(ValueError, match="Did you mean 'video-odernn'"):
        match_parameters("video-odern", 100_000)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_gives_a_score_a_class_and_gradients_to_all_it_trains(name: str) -> None:
    model = network(name, num_classes=7)
    logits = model(clips())
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_a_file(name: str, tmp_path: Path) -> None:
    model, again = network(name).eval(), network(name, seed=1).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(model(clips()), again(clips()))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_overfits_one_batch(name: str) -> None:
    fields = {"widths": (16, 24)} if name != "video-r2plus1d" else {"widths": (8, 16, 24)}
    model, labels = network(name, num_classes=4, **fields), torch.arange(4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(clips()), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(clips()).argmax(1) == labels).all() and loss < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_a_network_that_has_run_answers_alike(name: str) -> None:
    model = network(name).eval()
    model(clips()).sum().backward()
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(clips()), model(clips()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["frames", "differences", "stabilized", "flow", "both"])
def test_every_input_and_gray_frames_are_taken(name: str, kind: str) -> None:
    model = network(name, frame_input=kind, in_channels=1).eval()
    whole = clips(time=3)
    # In 64ths, so that adding 1 is exact.
    gray = whole._replace(frames=(64 * whole.frames[:, :, :1]).round() / 64)
    with torch.no_grad():
        answer = model(gray)
        assert answer.isfinite().all()
        brighter = model(gray._replace(frames=gray.frames + 1))
    if kind in ("stabilized", "flow"):  # Both are found to within rounding.
        assert torch.allclose(answer, brighter, atol=1e-4)
    else:
        assert torch.equal(answer, brighter) == (kind == "differences")


@pytest.mark.parametrize("name", NAMES)
def test_a_config_survives_plain_values(name: str) -> None:
    config = VIDEO_MODELS[name].config(num_classes=3)
    assert VIDEO_MODELS[name].config(**dataclasses.asdict(config)) == config
    model = build_video_model(config)
    assert type(model) is VIDEO_MODELS[name].model and model.config == config


@pytest.mark.parametrize(
    ("name", "expected"),
    [("video-odernn", 40), ("video-driven", 40), ("video-once", 8), ("video-r2plus1d", 0)],
)
def test_evaluations_add_up_over_frames_and_layers(name: str, expected: int) -> None:
    fields = {"rate": 1.0, "num_steps": 2} if name in ("video-odernn", "video-driven") else {}
    model = network(name, **fields)
    for _ in range(2):
        model(clips())
        stats = [block.last_stats for block in model.ode_blocks()]
        assert sum(one.nfe_forward for one in stats if one is not None) == expected


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("video-once", {"pooling": "attention"}, "`pooling` must be 'mean' for this network"),
        ("video-driven", {"cell_norm": "group"}, "`cell_norm` must be 'none' for this network"),
        ("video-mean", {"cell_norm": "weight"}, "`cell_norm` must be 'none' for this network"),
        ("video-convgru-dt", {"rate": -1.0}, "`rate` must be above 0"),
        ("video-r2plus1d", {"widths": (12,)}, "multiples of 8"),
        ("video-r2plus1d", {"in_channels": 0}, "`in_channels` must be at least 1"),
        ("video-odernn", {"warm_start": True, "num_steps": None, "solver": "heun"}, "warm_start"),
        ("video-odernn", {"frame_blocks": -1}, "`frame_blocks` must be 0 or more"),
        ("video-odernn", {"freeze_backbone": True}, "`backbone` must be given"),
        ("video-odernn", {"backbone": "resnet18"}, "torchvision/NAME"),
        ("video-odernn", {"backbone": "timm/resnet18"}, "`frame_input` must be 'frames'"),
    ],
)
def test_what_a_network_makes_no_use_of_is_refused(name: str, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(name, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frame_input": "difference"}, "Did you mean 'differences'"),
        ({"pooling": "max"}, "`pooling` must be one of mean, attention"),
        ({"cell_norm": "batch"}, "`cell_norm` must be one of none, weight, group"),
    ],
)
def test_words_that_are_no_choice_are_refused(
    fields: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        network("video-odernn", **fields)


@pytest.mark.parametrize("norm", ["weight", "group"])
def test_cells_take_their_norm_from_the_config(norm: str) -> None:
    cell = network("video-odernn", cell_norm=norm).layers[0].cell
    assert (cell.state_conv.gain is None) == (norm == "group")
    assert (cell.state_conv.norm is None) == (norm == "weight")
