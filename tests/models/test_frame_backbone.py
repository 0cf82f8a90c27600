"""Video networks behind a torchvision network; nothing is downloaded here."""

import pytest
import torch

from odevision.models.frame_backbone import FrameBackbone
from odevision.models.video import RecurrentVideoNet, VideoODERNNConfig
from odevision.training.config import OptimizerConfig
from odevision.training.optimizer import parameter_groups
from odevision.types import Clips

SMALL = "torchvision/mobilenet_v3_small"


def network(**fields) -> RecurrentVideoNet:
    torch.manual_seed(0)
    config = VideoODERNNConfig(
        backbone=SMALL, frame_input="frames", stem_width=32, widths=(16, 16), **fields
    )
    return RecurrentVideoNet(config)


def clips(time: int = 4, channels: int = 3) -> Clips:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(2, time, channels, 64, 96, generator=generator)
    seconds = torch.arange(time).float().expand(2, -1) / 8
    return Clips(frames, seconds, torch.ones(2, time, dtype=torch.bool))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 40), (224, 224)])
def test_the_size_of_the_maps_is_known_beforehand(height: int, width: int) -> None:
    stem = FrameBackbone(SMALL, 16)
    assert stem.size(height, width) == stem(torch.zeros(1, 3, height, width)).shape[2:]


@pytest.mark.parametrize("chunk", [None, 3])
def test_training_leaves_the_statistics_alone_and_reaches_the_weights(chunk: int | None) -> None:
    model = network(chunk=chunk).train()
    before = {key: value.clone() for key, value in model.stem.backbone.named_buffers()}
    model(clips()).square().sum().backward()
    after = dict(model.stem.backbone.named_buffers())
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(p.grad is not None for p in model.parameters())


def test_streaming_in_training_mode_equals_the_whole_clip() -> None:
    model, whole = network().train(), clips()
    state = model.initial_state(2, 64, 96)
    with torch.no_grad():
        for i in range(4):
            state = model.advance(state, Clips(*(tensor[:, i : i + 1] for tensor in whole)))
        assert torch.allclose(model.logits(state), model(whole), atol=1e-6)


def test_a_frozen_backbone_gets_no_gradient() -> None:
    model = network(freeze_backbone=True)
    model(clips()).sum().backward()
    frozen = {name for name, p in model.named_parameters() if p.grad is None}
    assert frozen == {name for name, _ in model.named_parameters() if "stem.backbone." in name}


def test_gray_frames_are_given_to_the_backbone_thrice() -> None:
    model = network(in_channels=1).eval()
    stem, gray = model.stem, clips(channels=1).frames[:, 0]
    with torch.no_grad():
        assert torch.equal(stem(gray), stem(gray.expand(-1, 3, -1, -1)))
        assert model(clips(channels=1)).isfinite().all()


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({"backbone_learning_rate_scale": 0.25}, 0.25),
        ({"pretrained": True}, 0.1),
        ({"pretrained": False}, 1.0),
    ],
)
def test_the_backbone_has_a_learning_rate_of_its_own(fields: dict, scale: float) -> None:
    model = network(**fields)
    groups = parameter_groups(model, OptimizerConfig(learning_rate=2.0))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rates[id(p)] for p in model.stem.backbone.parameters()} == {2 * scale}
    assert rates[id(model.stem.neck[0].weight)] == rates[id(model.head.weight)] == 2.0


def test_pretrained_weights_arrive_in_the_backbone_when_a_run_starts(monkeypatch) -> None:
    from torchvision import models

    torch.manual_seed(1)
    trained, real = models.mobilenet_v3_small(), models.get_model

    def pretend(name, weights):
        return trained if weights == "DEFAULT" else real(name, weights=None)

    monkeypatch.setattr(models, "get_model", pretend)
    for pretrained in (False, True):
        model = network(pretrained=pretrained)
        model.load_pretrained()
        found = model.stem.backbone.state_dict()["features.0.0.weight"]
        assert torch.equal(found, trained.features[0][0].weight) == pretrained


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"in_channels": 2}, "`in_channels` must be 1 or 3"),
        ({"backbone_learning_rate_scale": 0.0}, "`backbone_learning_rate_scale` must be above 0"),
    ],
)
def test_what_no_backbone_takes_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**fields)
