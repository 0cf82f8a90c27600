"""The benchmarks of gradients and solvers run and say what they promise, at sizes of seconds."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gradient_exact, gradient_flat, mnist_gradients, odeblock, solvers
from odevision.gradient import Checkpointed, Direct, Reversible


@pytest.mark.parametrize("solver", ["rk4", "dopri5", "leapfrog"])
def test_exact_gradients_are_told_from_others(solver: str) -> None:
    direct, checkpointed, nudged = (
        gradient_exact.small_gradients(solver, 3, gradient, nudge=nudge)
        for gradient, nudge in ((Direct(), 0.0), (Checkpointed(), 0.0), (Direct(), 1e-3))
    )
    assert gradient_exact.worst_difference(checkpointed, direct) < 1e-12
    assert gradient_exact.worst_difference(nudged, direct) > 1e-5
    if solver == "leapfrog":
        reversible = gradient_exact.small_gradients(solver, 3, Reversible())
        assert gradient_exact.worst_difference(reversible, direct) < 1e-12


def test_held_bytes_grow_with_the_steps_but_for_reversible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_flat, "SHAPES", {"tiny": (2, 32, 4, 4)})
    monkeypatch.setattr(gradient_flat, "STEPS", (8, 32))
    rows = {(row["name"], row["steps"]): row for row in gradient_flat.table(torch.device("cpu"))}
    direct, reversible = (
        [rows[name, steps]["held"] for steps in (8, 32)] for name in ("direct", "reversible")
    )
    assert direct[1] > 3 * direct[0] and reversible[1] == reversible[0]
    assert all(row["peak"] >= row["held"] >= 0 for row in rows.values())


def test_the_blocks_of_both_libraries_take_as_many_evaluations() -> None:
    rows = odeblock.measure((2, 32, 4, 4), repeats=1)
    ours, theirs = rows["odevision direct"], rows["torchdiffeq odeint"]
    assert ours["nfe"] == theirs["nfe"] > 6
    assert theirs["odeint_over_this"] == 1 and all(row["median_ms"] > 0 for row in rows.values())
    assert rows["odevision checkpointed"]["nfe"] > ours["nfe"]


def test_solvers_agree_before_they_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = solvers.contestants
    plain = lambda problem, kind: [  # the others compile, or compare with those that do
        one
        for one in found(problem, kind)
        if one.against is None and solvers.COMPILED not in one.name
    ]
    monkeypatch.setattr(solvers, "contestants", plain)
    result = solvers.measure("spiral", "forward", "cpu", repeats=1)
    assert result["rows"] and all(row["calls"] > 10 for row in result["rows"])
    assert result["rows"][0]["contestant"] in solvers.table(result)

    def wrong(problem: Any, kind: str) -> list[Any]:
        one, *_ = plain(problem, kind)
        return [dataclasses.replace(one, build=lambda wrap: lambda y0: one.build(wrap)(y0) * 1.1)]

    monkeypatch.setattr(solvers, "contestants", wrong)
    with pytest.raises(SystemExit, match="off, not"):
        solvers.measure("spiral", "forward", "cpu", repeats=1)


def test_gradients_on_mnist_share_the_forward_pass(
    write_mnist: Callable[..., Any], tmp_path: Path
) -> None:
    write_mnist(tmp_path / "mnist", compress=False)
    settings = mnist_gradients.Settings(
        data_root=str(tmp_path), epochs=1, num_steps=2, threads=1, limit=None
    )
    runs = [
        mnist_gradients.run_once(settings, gradient, seed=0)
        for gradient in mnist_gradients.GRADIENT_NAMES
    ]
    direct, checkpointed, reversible, backsolve = runs
    assert direct["gradient_off"] == 0 and backsolve["gradient_off"] > 1e-4
    assert checkpointed["gradient_off"] < 1e-5 and reversible["gradient_off"] < 1e-5
    assert direct["held_bytes"] > checkpointed["held_bytes"] > backsolve["held_bytes"]
    assert json.loads(json.dumps(runs)) == runs
    assert mnist_gradients.table(runs).count("\n") == 5
