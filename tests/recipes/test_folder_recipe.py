"""The recipe for one's own images: what it makes of an image size, and one run of it."""

import dataclasses

import pytest
import torch

from odevision.models import build_model
from odevision.recipes.folder import folder, plan_for
from odevision.training.optimizer import build_optimizer


@pytest.mark.parametrize(
    ("image_size", "stem_stride", "num_stages"),
    [
        (8, 1, 1), (16, 1, 2), (28, 1, 3), (32, 1, 3), (63, 1, 4), (64, 2, 3), (96, 2, 3),
        (128, 4, 3), (224, 4, 4), (600, 4, 4),
    ],
)  # fmt: skip
def test_stem_and_stages_grow_with_the_image(
    image_size: int, stem_stride: int, num_stages: int
) -> None:
    plan = plan_for(image_size)
    assert (plan.stem_stride, len(plan.widths)) == (stem_stride, num_stages)


@pytest.mark.parametrize("image_size", [8, 32, 64, 128])
def test_a_network_of_every_size_runs_and_ends_in_several_pixels(image_size: int) -> None:
    config = folder(image_size)
    assert config.data.image_size == image_size
    assert config.data.batch_size == plan_for(image_size).batch_size
    model = build_model(dataclasses.replace(config.model, num_classes=7)).eval()
    seen = []
    model.ode_blocks()[-1].register_forward_hook(lambda _, __, y: seen.append(y.shape))
    with torch.no_grad():
        assert model(torch.randn(2, 3, image_size, image_size)).shape == (2, 7)
    assert seen[0][2] >= 3


def test_two_steps_of_the_recipe_change_the_network() -> None:
    torch.manual_seed(0)
    config = folder(16)
    model = build_model(config.model)
    optimizer = build_optimizer(model, config.optimizer)
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(torch.randn(4, 3, 16, 16)), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="`image_size` must be at least 8"):
        folder(7)
