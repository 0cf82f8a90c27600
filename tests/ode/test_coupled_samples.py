"""Implicit methods notice samples that influence one another, whichever they are."""

import itertools

import pytest
import torch
from torch import Tensor

from odevision import odesolve
from odevision.ode.stage_search import _divisions

DOUBLE = torch.float64


@pytest.mark.parametrize("num_samples", [2, 3, 4, 5, 20, 128])
def test_of_any_two_samples_one_is_moved_alone(num_samples: int) -> None:
    parts = _divisions(num_samples)
    assert len(parts) <= 2 + num_samples.bit_length() + 1
    alone = (parts[:, :, None] & ~parts[:, None, :]).any(0)
    assert (alone | torch.eye(num_samples, dtype=torch.bool)).all()


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(range(4), 2)))
def test_a_stage_is_solved_to_its_tolerance_where_two_samples_are_coupled(
    one: int, other: int
) -> None:
    """Van der Pol's equation between two rows of four, the others decay."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        x, v = y[one, 0], y[other, 0]
        slopes = list(-y[:, 0])
        slopes[one], slopes[other] = v, 1e3 * (1 - x * x) * v - x
        return torch.stack(slopes)[:, None]

    y0 = torch.ones(4, 1, dtype=DOUBLE)
    y0[one], y0[other] = 2.0, 0.0
    y1 = odesolve(f, y0, 0.0, 0.05, solver="implicit-euler", num_steps=1).y1
    residual = y1 - y0 - 0.05 * f(torch.zeros(()), y1)
    assert residual.abs().max() < 1e-9
