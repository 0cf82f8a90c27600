import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from odevision.training.checkpoint import Card


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The program as a module."""
    path = Path(__file__).parents[2] / "tools" / "ship_weights.py"
    spec = importlib.util.spec_from_file_location("ship_weights", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ship_weights"] = module
    spec.loader.exec_module(module)
    return module


CARD = Card(
    model_name="odenet",
    model={},
    preprocessing={},
    class_names=("a", "b"),
    dataset="cifar10",
    solver={"solver": "midpoint"},
)


def document(**fields: Any) -> dict[str, Any]:
    values = {
        "split": "test",
        "data": "cifar10",
        "checkpoint": "runs/a",
        "solver": {"solver": "midpoint"},
        "accuracy": 0.9,
        "loss": 0.3,
        "num_samples": 10_000,
        "nfe": 6.0,
        "per_class": {"a": 0.9},
        "calibration": {"ece": 0.02, "calibrated_ece": None, "calibrated_loss": None, "bins": []},
    }
    return {**values, **fields}


def test_every_section_goes_into_the_card(tool: ModuleType) -> None:
    first = document(consistency=[{"name": "4x the steps"}], mirror={"accuracy": 0.92})
    second = document(corruptions={"mean_error": 0.3}, num_samples=1_000)
    metrics = tool.measured([first, second], CARD)
    assert metrics["test_accuracy"] == 0.9
    assert metrics["test_ece"] == 0.02
    assert metrics["test_mirror"] == {"accuracy": 0.92}
    assert metrics["test_corruptions"] == {"mean_error": 0.3}
    assert metrics["test_corruptions_num_samples"] == 1_000
    assert "test_mirror_num_samples" not in metrics and "test_sweep" not in metrics


@pytest.mark.parametrize(
    "fields",
    [
        {"split": "validation"},
        {"data": "mnist"},
        {"checkpoint": "runs/b"},
        {"solver": {"solver": "rk4"}},
    ],
)
def test_a_document_of_something_else_is_refused(fields: dict, tool: ModuleType) -> None:
    with pytest.raises(ValueError, match="every evaluation must be"):
        tool.measured([document(consistency=[]), document(**fields)], CARD)


def test_an_ode_ships_with_its_consistency(tool: ModuleType) -> None:
    with pytest.raises(ValueError, match="--consistency"):
        tool.measured([document()], CARD)
    resnet = dataclasses.replace(CARD, solver={})
    assert "test_consistency" not in tool.measured([document()], resnet)


def test_documents_of_earlier_versions_will_do(tool: ModuleType) -> None:
    old = document(consistency=[])
    del old["calibration"]
    assert "test_ece" not in tool.measured([old], CARD)
