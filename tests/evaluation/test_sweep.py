from typing import Any

import pytest

from odevision.data.sources import load_split
from odevision.evaluation.answers import answer_split
from odevision.evaluation.sweep import SweepPoint, accuracy_spread, sweep, sweep_settings
from odevision.models.budget import evaluations
from odevision.training.checkpoint import LoadedModel

SOLVER = {"solver": "midpoint", "num_steps": 2, "rtol": 1e-3, "atol": 1e-3, "gradient": "direct"}


def point(solver: str, nfe: float, accuracy: float, **fields: Any) -> SweepPoint:
    values: dict[str, Any] = {"tolerance": None, "is_own": False, **fields}
    return SweepPoint(
        solver=solver,
        num_steps=1,
        nfe_per_block=nfe,
        nfe=3 * nfe,
        accuracy=accuracy,
        loss=1.0,
        changed_share=0.0,
        milliseconds_per_image=1.0,
        **values,
    )


def test_the_own_setting_comes_first_and_once() -> None:
    settings = sweep_settings(SOLVER)
    assert settings[0] == {"solver": "midpoint", "num_steps": 2}
    assert settings.count(settings[0]) == 1
    adaptive = sweep_settings({**SOLVER, "solver": "dopri5", "num_steps": None})
    assert adaptive[0] == {"solver": "dopri5", "rtol": 1e-3, "atol": 1e-3}
    assert adaptive.count(adaptive[0]) == 1


def test_no_setting_goes_over_the_largest_budget() -> None:
    costs = {
        (one["solver"], evaluations(one["solver"], one["num_steps"]))
        for one in sweep_settings(SOLVER)
        if "num_steps" in one
    }
    assert max(cost for _, cost in costs) == 16
    for solver in ("euler", "midpoint", "leapfrog"):
        assert {cost for name, cost in costs if name == solver} == {2, 4, 8, 16}
    assert {cost for name, cost in costs if name == "dopri5"} == {6, 12}


def test_a_model_without_ode_has_no_settings() -> None:
    assert sweep_settings({}) == []


def test_a_sweep_measures_what_the_settings_say(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from odevision.evaluation import sweep as module

    monkeypatch.setattr(module, "STEP_SOLVERS", ("euler", "rk4"))
    monkeypatch.setattr(module, "ADAPTIVE_SOLVERS", ("bosh3",))
    monkeypatch.setattr(module, "TOLERANCES", (1e-1, 1e-4))
    split = load_split("mnist-mini", "test", limit=10)
    seen: list[tuple[int, int]] = []
    points = list(sweep(loaded, split, batch_size=4, on_batch=lambda *both: seen.append(both)))
    assert points[0].is_own and not any(one.is_own for one in points[1:])
    assert points[0].nfe == points[0].nfe_per_block == 4
    assert points[0].changed_share == 0
    assert points[0].accuracy == answer_split(loaded, split).accuracy
    constant = [(one.solver, one.nfe) for one in points if one.tolerance is None]
    assert ("euler", 16) in constant and ("rk4", 8) in constant
    loose, tight = (one for one in points if one.tolerance is not None)
    assert (loose.tolerance, tight.tolerance) == (1e-1, 1e-4)
    assert tight.nfe > loose.nfe
    assert all(one.milliseconds_per_image > 0 for one in points)
    assert seen[:3] == [(4, 10), (8, 10), (10, 10)]


def test_the_spread_is_that_of_the_own_solver() -> None:
    points = [
        point("midpoint", 2.0, 0.90, is_own=True),
        point("midpoint", 16.0, 0.92),
        point("euler", 16.0, 0.5),
        point("midpoint", 16.0, 0.4, tolerance=1e-3),
    ]
    points[-1] = point("tsit5", 16.0, 0.4)
    assert accuracy_spread(points, 2, 16) == pytest.approx(0.02)
    assert accuracy_spread(points, 2, 8) is None
    assert accuracy_spread([], 2, 16) is None
