"""odenet-stacked under each of its options."""

import dataclasses

import pytest
import torch

from odevision.models import build_model, create_model
from odevision.models.odenet_stacked import ODENetStackedConfig

SMALL = ODENetStackedConfig(widths=(16, 32), solver="midpoint", num_steps=1, gradient="direct")


@pytest.mark.parametrize(
    "options",
    [
        {"field": "weight-norm"},
        {"field": "weight-norm", "time_weights": True},
        {"field": "leaky"},
        {"field": "leaky", "time_weights": True, "augment_channels": 16},
        {"field": "weight-norm", "augment_channels": 16},
        {"field": "weight-norm", "augment_channels": 16, "gradient": "checkpointed"},
        {"final_norm": True},
        {"transition_convs": 2},
        {"stem_stride": 2},
    ],
    ids=lambda options: ", ".join(options),
)
def test_every_option_trains_all_parameters_and_stays_an_ode(options: dict) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, **options)
    model, images = build_model(config), torch.randn(4, 3, 32, 32)
    model.initialize_from(images)
    logits = model(images)
    assert logits.shape == (4, 10)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    fine = build_model(
        dataclasses.replace(config, solver="dopri5", num_steps=None, rtol=1e-6, atol=1e-6)
    )
    finer = build_model(dataclasses.replace(config, num_steps=16))
    for other in (fine, finer):
        other.load_state_dict(model.state_dict())
    with torch.no_grad():
        a, b = fine.eval()(images), finer.eval()(images)
    assert (a - b).norm() < 0.01 * a.norm()


def test_appended_channels_are_part_of_the_solve_and_not_of_its_result() -> None:
    model = build_model(dataclasses.replace(SMALL, field="weight-norm", augment_channels=16))
    seen = []
    block = model.ode_blocks()[0]
    block.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    model(torch.randn(2, 3, 32, 32))
    ((before, after),) = seen
    assert before.shape[1] == after.shape[1] == 32
    assert not before[:, 16:].any() and after[:, 16:].any()


def test_a_strided_stem_serves_images_of_imagenet_size() -> None:
    model = create_model("odenet-stacked", stem_stride=4, widths=(16, 16, 16, 16), num_classes=5)
    images = torch.randn(2, 3, 224, 224)
    assert model.stem(images).shape == (2, 96, 55, 55)
    assert model(images).shape == (2, 5)


def test_a_strided_stem_whitens_its_patches() -> None:
    torch.manual_seed(0)
    model = create_model("odenet-stacked", stem_stride=2)
    images = torch.nn.functional.avg_pool2d(torch.randn(64, 3, 64, 64), 2)
    model.initialize_from(images)
    with torch.no_grad():
        responses = model.stem.conv(images)
    half = responses[:, :48].transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(half), torch.eye(48), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"time_weights": True}, "`time_weights` must be false with field 'group-norm'"),
        ({"augment_channels": 8}, "`augment_channels` must be 0 or a multiple of 16"),
        ({"augment_channels": 16}, "cannot normalize channels that are zero, got 16"),
        ({"transition_convs": 0}, "`transition_convs` must be at least 1, got 0"),
        ({"stem_stride": 0}, "`stem_stride` must be at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model("odenet-stacked", **fields)


@pytest.mark.parametrize(
    "fields",
    [{"field": "weight-norm"}, {"transition_convs": 2}, {"final_norm": True}, {"stem_stride": 2}],
)
def test_a_twin_of_the_paper_network_has_none_of_these_options(fields: dict) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(fields))}` must be .* with like='odenet'"):
        create_model("resnet", **fields)


def test_the_plain_twin_has_the_parameters_of_the_weight_norm_network() -> None:
    fields = {"field": "weight-norm", "in_channels": 3, "final_norm": True, "stem_stride": 2}
    fields["transition_convs"] = 2
    twin = sum(p.numel() for p in create_model("odenet-stacked", **fields).parameters())
    plain = create_model("resnet", like="odenet-stacked", **fields)
    assert 0.98 * twin < sum(p.numel() for p in plain.parameters()) <= twin
