"""Error norms."""

import pytest
import torch
from problems import DOUBLE

from odevision import odesolve
from odevision.ode.controller import PIDController
from odevision.ode.norm import max_norm, rms_norm, worst_sample_norm


def test_rms_norm_is_the_root_mean_square() -> None:
    assert float(rms_norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))) == pytest.approx(2.5)


def test_max_norm_is_the_largest_entry() -> None:
    assert float(max_norm(torch.tensor([[3.0, -4.0]]))) == 4.0


def test_worst_sample_norm_is_the_largest_rms_of_a_sample() -> None:
    assert float(worst_sample_norm(torch.tensor([[3.0, 4.0], [1.0, 1.0]]))) == pytest.approx(
        (25 / 2) ** 0.5
    )


@pytest.mark.parametrize("shape", [(), (5,), (1, 5)])
def test_worst_sample_norm_of_a_single_sample_is_its_rms(shape: tuple[int, ...]) -> None:
    x = torch.full(shape, 2.0)
    assert float(worst_sample_norm(x)) == pytest.approx(2.0)


@pytest.mark.parametrize("norm", [rms_norm, max_norm, worst_sample_norm])
def test_a_norm_passes_nan_on(norm) -> None:
    assert norm(torch.tensor([[1.0, 2.0], [torch.nan, 0.0]])).isnan()


def test_the_worst_sample_norm_protects_a_hard_sample_among_63_easy_ones() -> None:
    rates = torch.full((64, 1), 0.1, dtype=DOUBLE)
    rates[17] = 20.0
    field = lambda t, y: torch.cos(rates * t) * y
    alone = lambda t, y: torch.cos(20.0 * t) * y
    y0 = torch.ones(64, 3, dtype=DOUBLE)
    exact = float(torch.exp(torch.sin(torch.tensor(20.0, dtype=DOUBLE)) / 20.0))

    def hard_error(norm, f=field, y=y0) -> float:
        controller = PIDController(rtol=1e-5, atol=1e-5, norm=norm)
        y1 = odesolve(f, y, 0, 1, solver="dopri5", controller=controller).y1
        return float((y1[17 if len(y1) > 1 else 0] - exact).abs().max())

    single = hard_error(worst_sample_norm, alone, y0[:1])
    assert hard_error(worst_sample_norm) < 1.5 * single
    assert hard_error(rms_norm) > 3 * single
