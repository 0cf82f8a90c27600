import pytest
import torch

from odevision.data.sources import load_split
from odevision.evaluation.answers import ode_blocks
from odevision.evaluation.trajectory import (
    _features,
    block_inputs,
    choose_evenly,
    feature_trajectories,
    principal_plane,
)
from odevision.models.registry import create_model
from odevision.training.checkpoint import LoadedModel


def _distances(points: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pdist(points.flatten(0, 1))


def test_points_in_a_plane_keep_their_distances() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(5, 8, 2, generator=generator)
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    coordinates, explained = principal_plane(flat @ basis[:2])
    torch.testing.assert_close(_distances(coordinates), _distances(flat))
    assert sum(explained) == pytest.approx(1.0)
    assert explained[0] > explained[1]


def test_classes_are_chosen_evenly() -> None:
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 50)
    chosen = choose_evenly(labels, 12, max_classes=10)
    assert torch.bincount(labels[chosen]).tolist() == [4, 3, 4]


def test_a_path_is_that_of_the_block_from_its_input(loaded: LoadedModel) -> None:
    split = load_split("mnist-mini", "test", limit=6)
    assert split.images is not None
    images = loaded.preprocessing.normalize(split.images)
    trajectories = feature_trajectories(
        loaded.model,
        ode_blocks(loaded),
        images,
        split.labels,
        split.class_names,
        num_times=5,
        batch_size=4,
    )
    (block,) = trajectories.blocks
    assert block.paths.shape == (5, 6, 2)
    assert block.ts.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    (module,) = ode_blocks(loaded)
    (entering,) = block_inputs(loaded.model, [module], images)
    with torch.no_grad():
        states = module.trajectory(entering, block.ts)
    plane, _ = principal_plane(_features(states))
    torch.testing.assert_close(_distances(block.paths), _distances(plane), rtol=1e-3, atol=1e-3)


def test_a_stacked_model_has_one_picture_a_block() -> None:
    model = create_model("odenet-stacked", widths=(16, 16), in_channels=3).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    trajectories = feature_trajectories(
        model, model.ode_blocks(), images, torch.zeros(4, dtype=torch.int64), ("a",), num_times=3
    )
    assert [block.name for block in trajectories.blocks] == [
        "ODE block 1 of 2",
        "ODE block 2 of 2",
    ]


def test_a_model_without_ode_has_no_paths() -> None:
    model = create_model("resnet").eval()
    trajectories = feature_trajectories(
        model, [], torch.zeros(1, 1, 28, 28), torch.zeros(1, dtype=torch.int64), ("a",)
    )
    assert trajectories.blocks == ()
