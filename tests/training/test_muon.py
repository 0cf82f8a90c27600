"""Muon: orthogonal updates for filter banks, Nesterov SGD for all else."""

import copy
import math

import torch
from torch import nn

from odevision.training.config import OptimizerConfig
from odevision.training.muon import Muon, is_filter_bank, orthogonalize
from odevision.training.optimizer import build_optimizer


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_orthogonalizing_brings_singular_values_near_one_and_keeps_the_vectors() -> None:
    for matrix in (draw(8, 20), draw(20, 8)):
        result = orthogonalize(matrix, num_iterations=5)
        assert result.shape == matrix.shape
        values = torch.linalg.svdvals(result)
        assert 0.6 < values.min() and values.max() < 1.25
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        product = left.T @ result @ right.T
        assert (product - product.diag().diag()).abs().max() < 1e-6


def test_orthogonalizing_does_not_depend_on_the_scale_and_leaves_zero_alone() -> None:
    matrix = draw(6, 9)
    torch.testing.assert_close(
        orthogonalize(1e4 * matrix), orthogonalize(matrix), rtol=1e-5, atol=1e-6
    )
    assert not orthogonalize(torch.zeros(3, 4)).any()


def test_orthogonalizing_in_bf16_comes_near_and_keeps_the_dtype() -> None:
    matrix = draw(8, 20)
    half, full = orthogonalize(matrix, dtype=torch.bfloat16), orthogonalize(matrix)
    assert half.dtype == full.dtype == torch.float64
    assert 1e-4 < float((half - full).norm() / full.norm()) < 0.02


def test_updates_are_made_in_bf16_where_the_training_is() -> None:
    config, results = OptimizerConfig(name="muon", filter_learning_rate=0.1), []
    for is_bf16 in (False, True):
        conv = nn.Conv2d(8, 8, 3, bias=False)
        conv.weight.data.copy_(draw(8, 8, 3, 3))
        conv.weight.grad = draw(8, 8, 3, 3).flip(0).float()
        build_optimizer(conv, config, is_bf16=is_bf16).step()
        results.append(conv.weight.detach())
    assert 1e-5 < float((results[0] - results[1]).norm() / results[0].norm()) < 0.01


def test_only_convolutions_wider_than_a_pixel_are_filter_banks() -> None:
    assert is_filter_bank(torch.zeros(4, 2, 3, 3)) and is_filter_bank(torch.zeros(4, 2, 1, 3))
    for shape in ((4, 1, 1, 1), (4, 2, 1, 1), (4, 2), (4,)):
        assert not is_filter_bank(torch.zeros(shape))


def optimizer_of(model: nn.Module, **fields: float) -> Muon:
    optimizer = build_optimizer(model, OptimizerConfig(name="muon", **fields))  # type: ignore[arg-type]
    assert isinstance(optimizer, Muon)
    return optimizer


def test_an_update_of_filters_has_the_size_of_the_rate_whatever_the_gradient() -> None:
    for scale in (1e-6, 1e3):
        conv = nn.Conv2d(8, 8, 3, bias=False)
        conv.weight.data.copy_(draw(8, 8, 3, 3))
        conv.weight.grad = scale * draw(8, 8, 3, 3).flip(0).float()
        optimizer = optimizer_of(conv, filter_learning_rate=0.1)
        start = conv.weight.detach() * math.sqrt(8) / conv.weight.detach().norm()
        optimizer.step()
        change = (conv.weight.detach() - start).norm() / start.norm()
        assert 0.06 < float(change) < 0.12


def test_a_bank_is_scaled_before_its_update_unless_it_starts_at_zero() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.Conv2d(6, 6, 3, bias=False))
    model[1].weight.data.zero_()
    optimizer = optimizer_of(model, filter_learning_rate=1e-9)
    for bank in model.parameters():
        bank.grad = torch.ones_like(bank)
    optimizer.step()
    assert math.isclose(model[0].weight.norm().item(), math.sqrt(6), rel_tol=1e-5)
    assert model[1].weight.norm().item() < 1e-7


def test_everything_else_takes_the_steps_of_torch_sgd() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    fields = {"learning_rate": 0.1, "weight_decay": 0.02, "momentum": 0.85}
    mine = optimizer_of(ours, **fields)
    torchs = build_optimizer(theirs, OptimizerConfig(name="sgd", **fields))  # type: ignore[arg-type]
    for step in range(4):
        for model, optimizer in ((ours, mine), (theirs, torchs)):
            optimizer.zero_grad()
            model(torch.full((2, 5), 1.0 + step)).square().sum().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_state_survives_saving() -> None:
    torch.manual_seed(0)
    conv, again = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    images = torch.randn(2, 3, 5, 5)
    one = optimizer_of(conv)

    def step(model: nn.Module, optimizer: Muon) -> None:
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()

    step(conv, one)
    other = optimizer_of(again)
    again.load_state_dict(conv.state_dict())
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    step(conv, one)
    step(again, other)
    assert torch.equal(conv.weight, again.weight) and torch.equal(conv.bias, again.bias)
