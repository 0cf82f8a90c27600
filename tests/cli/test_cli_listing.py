import json
from collections.abc import Callable

import pytest

from odevision.data.sources import list_datasets
from odevision.data.video_sources import VIDEO_DATASETS
from odevision.models.registry import list_models
from odevision.recipes import list_recipes
from odevision.solve import list_gradients, list_solvers
from odevision.training.checkpoint import list_weights

LISTS = {
    "models": list_models,
    "recipes": list_recipes,
    "solvers": list_solvers,
    "gradients": list_gradients,
    "datasets": lambda: [*list_datasets(), *VIDEO_DATASETS],
    "weights": list_weights,
}


@pytest.mark.parametrize("verb", LISTS)
def test_a_list_has_a_line_for_each_name_with_a_description(verb: str, invoke: Callable) -> None:
    outcome = invoke(verb)
    assert outcome.code == 0
    rows = [line.split(maxsplit=1) for line in outcome.out.splitlines()]
    assert [row[0] for row in rows] == list(LISTS[verb]())
    assert all(len(row) == 2 for row in rows)


@pytest.mark.parametrize("verb", LISTS)
def test_a_list_is_one_json_document_if_asked(verb: str, invoke: Callable) -> None:
    outcome = invoke(verb, "--json")
    assert outcome.code == 0
    entries = json.loads(outcome.out)
    assert [entry["name"] for entry in entries] == list(LISTS[verb]())
    assert all(entry["description"] for entry in entries)
