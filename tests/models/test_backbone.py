"""Networks of torchvision and timm as backbones; nothing is downloaded here."""

import builtins
import urllib.error
import urllib.request

import pytest
import torch

from odevision import create_model
from odevision.models.backbone import (
    BackboneDownloadError,
    build_backbone,
    feature_channels,
    pretrained_statistics,
)
from odevision.training.config import OptimizerConfig
from odevision.training.optimizer import parameter_groups

SMALL = "torchvision/mobilenet_v3_small"


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("torchvision/resnet18", 512),
        ("torchvision/mobilenet_v3_small", 576),
        ("torchvision/regnet_y_400mf", 440),
        ("torchvision/shufflenet_v2_x0_5", 1024),
        ("torchvision/mnasnet0_5", 1280),
        ("timm/resnet10t.c3_in1k", 512),
        ("timm/mobilenetv3_small_050", 288),
        ("timm/convnext_atto", 320),
    ],
)
def test_a_backbone_ends_in_feature_maps_of_any_image_size(name: str, channels: int) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    features = build_backbone(name)
    assert feature_channels(features) == channels
    with torch.no_grad():
        for side in (32, 96):
            assert features.eval()(torch.zeros(1, 3, side, side)).shape[:2] == (1, channels)


def test_counting_the_channels_leaves_mode_and_statistics_alone() -> None:
    features = build_backbone(SMALL).train()
    before = {key: value.clone() for key, value in features.state_dict().items()}
    feature_channels(features)
    assert features.training
    assert all(torch.equal(value, before[key]) for key, value in features.state_dict().items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "must be torchvision/NAME or timm/NAME"),
        ("keras/resnet18", "must be torchvision/NAME or timm/NAME"),
        ("timm/", "must be torchvision/NAME or timm/NAME"),
        ("torchvision/resnt18", "Did you mean torchvision/resnet18"),
        ("torchvision/zzzzzzz", "Try torchvision/resnet18"),
        ("torchvision/vit_b_16", "has no feature map that is known here"),
    ],
)
def test_a_backbone_that_does_not_exist_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model("backbone-ode", backbone=name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet188", "Did you mean timm/resnet18"),
        ("timm/resnet18.nonsense", "cannot be used for its feature maps"),
        ("timm/vit_tiny_patch16_224", "must take images of any size"),
    ],
)
def test_a_backbone_of_timm_that_does_not_fit_is_refused(name: str, message: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=message):
        create_model("backbone-ode", backbone=name)


def test_feature_maps_with_the_channels_last_are_refused() -> None:
    class Last(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(images), 2, 2, 64)

    with pytest.raises(ValueError, match="must return feature maps"):
        feature_channels(Last())


def test_without_timm_its_networks_are_refused_with_the_way_out(monkeypatch) -> None:
    real = builtins.__import__

    def without(name, *rest):
        if name == "timm":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install timm"):
        build_backbone("timm/resnet18")


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("torchvision/resnet18", 0.485, 0.229),
        ("timm/resnet18", 0.485, 0.229),
        ("timm/tf_efficientnetv2_s.in1k", 0.5, 0.5),
        ("timm/mobilenetv3_large_100.miil_in21k_ft_in1k", 0.0, 1.0),
    ],
)
def test_it_is_known_how_pretrained_weights_want_their_images(
    name: str, mean: float, std: float
) -> None:
    pytest.importorskip("timm")
    means, stds = pretrained_statistics(name)
    assert (len(means), len(stds)) == (3, 3) and (means[0], stds[0]) == (mean, std)


@pytest.mark.parametrize(
    "name", ["torchvision/resnet19", "timm/resnet19", "resnet18", "timm/resnet18.nobody"]
)
def test_weights_that_there_are_not_are_refused(name: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match="`backbone`"):
        pretrained_statistics(name)


def test_a_failed_download_says_what_to_try(monkeypatch, tmp_path) -> None:
    def unreachable(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    model = create_model("backbone-ode", backbone=SMALL, pretrained=True)
    with pytest.raises(BackboneDownloadError, match="--model.no-pretrained") as caught:
        model.load_pretrained()
    assert "no network" in str(caught.value) and SMALL in str(caught.value)


def test_pretrained_weights_arrive_in_the_backbone_and_nowhere_else(monkeypatch) -> None:
    from torchvision import models

    torch.manual_seed(1)
    trained = models.mobilenet_v3_small()
    real = models.get_model

    def pretend(name, weights):
        return trained if weights == "DEFAULT" else real(name, weights=None)

    monkeypatch.setattr(models, "get_model", pretend)
    model = create_model("backbone-ode", backbone=SMALL)
    head = model.head[-1].weight.clone()
    model.load_pretrained()
    expected = trained.features.state_dict()
    found = model.backbone.features.state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert torch.equal(model.head[-1].weight, head)


def test_building_and_no_pretrained_download_nothing(monkeypatch) -> None:
    def refuse(*_, **options):
        assert not options.get("pretrained")
        return build_backbone(SMALL)

    monkeypatch.setattr("odevision.models.backbone_ode.build_backbone", refuse)
    create_model("backbone-ode", pretrained=True)
    create_model("backbone-ode", pretrained=False).load_pretrained()


def test_a_frozen_backbone_keeps_weights_and_statistics() -> None:
    model = create_model("backbone-ode", backbone=SMALL, freeze_backbone=True).train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(2):
        model.train()
        model(torch.randn(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(v, before[key]) for key, v in model.backbone.state_dict().items())
    own = {id(p) for p in model.backbone.parameters()}
    assert trained and not any(id(p) in own for p in trained)


def test_a_backbone_that_is_not_frozen_learns() -> None:
    model = create_model("backbone-ode", backbone=SMALL).train()
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None for p in model.backbone.parameters())


def test_gray_images_are_given_to_the_backbone_thrice() -> None:
    model = create_model("backbone-ode", backbone=SMALL, in_channels=1).eval()
    gray = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(gray), model(gray.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({"backbone_learning_rate_scale": 0.25}, 0.25),
        ({"pretrained": True}, 0.1),
        ({"pretrained": False}, 1.0),
    ],
)
def test_the_backbone_has_a_learning_rate_of_its_own(fields: dict, scale: float) -> None:
    model = create_model("backbone-ode", backbone=SMALL, **fields)
    groups = parameter_groups(model, OptimizerConfig(learning_rate=2.0))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rates[id(p)] for p in model.backbone.parameters()} == {2 * scale}
    assert rates[id(model.head[-1].weight)] == 2.0


@pytest.mark.parametrize(
    "fields",
    [
        {"in_channels": 2},
        {"channels": 40},
        {"num_classes": 0},
        {"backbone_learning_rate_scale": 0.0},
    ],
)
def test_sizes_that_no_network_has_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(fields))}` must be"):
        create_model("backbone-ode", **fields)
