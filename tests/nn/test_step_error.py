"""The step error: the Euler step inside each step, measured without an evaluation of its own."""

import copy

import pytest
import torch
from torch import nn

from odevision.nn import ODEBlock


class Linear(nn.Module):
    """dy/dt = a y."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(-0.8, dtype=torch.float64))

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.a * y


class TimeFree(nn.Module):
    """dy/dt = layers(y)."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.layers(y)


def block_of(**settings: object) -> ODEBlock:
    settings = {"solver": "midpoint", "num_steps": 2, "gradient": "direct", **settings}
    block = ODEBlock(Linear(), **settings)  # type: ignore[arg-type]
    block.measures_step_error = True
    return block


def test_it_is_the_difference_to_an_euler_step_and_costs_no_evaluation() -> None:
    block, y0 = block_of(), torch.ones(3, 2, dtype=torch.float64)
    block(y0)
    assert block.last_stats is not None and block.last_stats.nfe_forward == 4
    # Over a step of h = 1/2, y1 - euler = (h a)^2 / 2 y; the second starts at the first one's end.
    z = -0.4
    growth = 1 + z + z * z / 2
    expected = (z * z / 2) ** 2 * (1 + growth**2) / 2
    assert block.last_step_error is not None
    assert block.last_step_error.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("solver", ["midpoint", "heun", "rk4", "dopri5"])
def test_it_falls_with_the_fourth_power_of_the_step(solver: str) -> None:
    errors = []
    for num_steps in (8, 16):
        block = block_of(solver=solver, num_steps=num_steps)
        block(torch.ones(3, 2, dtype=torch.float64))
        errors.append(block.last_step_error.item())  # type: ignore[union-attr]
    assert 14 < errors[0] / errors[1] < 18


def test_its_gradient_reaches_the_parameters() -> None:
    block = block_of()
    block(torch.ones(3, 2, dtype=torch.float64))
    block.last_step_error.backward()  # type: ignore[union-attr]
    assert block.vector_field.a.grad.abs() > 0  # type: ignore[union-attr, operator]


def test_it_changes_nothing_in_the_state_and_is_off_in_evaluation() -> None:
    y0 = torch.randn(3, 2, dtype=torch.float64)
    block = block_of()
    measured = block(y0)
    block.measures_step_error = False
    assert torch.equal(measured, block(y0)) and block.last_step_error is None
    block.measures_step_error = True
    block.eval()(y0)
    assert block.last_step_error is None


def test_a_block_that_holds_one_can_be_copied() -> None:
    block = block_of()
    block(torch.ones(3, 2, dtype=torch.float64))
    assert copy.deepcopy(block).last_step_error is None
    assert block.last_step_error is not None


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"solver": "euler"}, "solver"),
        ({"solver": "implicit_midpoint"}, "solver"),
        ({"solver": "dopri5", "num_steps": None}, "num_steps"),
        ({"gradient": "checkpointed"}, "gradient"),
    ],
)
def test_solves_without_a_graph_of_all_slopes_are_refused(settings: dict, name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}`"):
        block_of(**settings)(torch.ones(3, 2, dtype=torch.float64))


def test_what_changes_between_evaluations_is_refused_here_too() -> None:
    field = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).eval()
    block = ODEBlock(TimeFree(field), solver="midpoint", num_steps=2, gradient="direct")
    block.measures_step_error = True
    block.train()
    with pytest.raises(ValueError, match="must not hold Dropout in training mode"):
        block(torch.ones(3, 2))


def test_a_compiled_solve_is_refused() -> None:
    with pytest.raises(ValueError, match="`compile` must be False to measure the step error"):
        block_of(compile=True)(torch.ones(3, 2, dtype=torch.float64))


def test_a_solve_with_times_to_save_is_not_measured() -> None:
    block = block_of()
    block(torch.ones(3, 2, dtype=torch.float64))
    block.trajectory(torch.ones(3, 2, dtype=torch.float64), torch.tensor([0.3, 0.7]))
    assert block.last_step_error is None
