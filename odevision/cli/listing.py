"""`odevision models | recipes | solvers | gradients | datasets | weights`: one line a thing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from odevision.cli.arguments import parse_options
from odevision.cli.options import Json
from odevision.cli.output import write_json


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of the lists."""

    json: Json = False


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n", 1)[0]


def _models() -> dict[str, str]:
    from odevision.models.registry import MODELS

    return {name: entry.description for name, entry in MODELS.items()}


def list_recipes() -> dict[str, str]:
    """Return the first line of each recipe's docstring by its name."""
    from odevision.recipes import RECIPES

    return {name: _first_line(recipe.__doc__) for name, recipe in RECIPES.items()}


def _solvers() -> dict[str, str]:
    from odevision.ode.solvers import SOLVERS

    def describe(name: str) -> str:
        solver = SOLVERS[name]
        if solver.embedded_order is None:
            return f"order {solver.order}, {solver.kind}, constant steps"
        steps = f"adaptive or constant steps, error estimate of order {solver.embedded_order}"
        return f"order {solver.order}, {solver.kind}, {steps}"

    return {name: describe(name) for name in SOLVERS}


def _gradients() -> dict[str, str]:
    facts = _gradient_facts()
    return {name: f"{fact['accuracy']}, {fact['kind']}" for name, fact in facts.items()}


def _gradient_facts() -> dict[str, dict[str, str]]:
    from odevision.gradient import GRADIENTS

    return {
        name: {"accuracy": gradient.accuracy, "kind": gradient.kind}
        for name, gradient in GRADIENTS.items()
    }


def _datasets() -> dict[str, str]:
    from odevision.data.sources import DATASETS
    from odevision.data.video_sources import VIDEO_DATASETS

    return {name: info.description for name, info in DATASETS.items()} | VIDEO_DATASETS


def _weights() -> dict[str, str]:
    from odevision.training.checkpoint import find_checkpoint, list_weights, read_card

    def describe(name: str) -> str:
        card = read_card(find_checkpoint(name))
        accuracy = card.metrics.get("test_accuracy")
        text = f"{card.model_name} trained on {card.dataset}, {card.num_parameters:,} parameters"
        return text if accuracy is None else f"{text}, {accuracy:.2%} test accuracy"

    return {name: describe(name) for name in list_weights()}


_LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "models": _models,
    "recipes": list_recipes,
    "solvers": _solvers,
    "gradients": _gradients,
    "datasets": _datasets,
    "weights": _weights,
}

# The parts of a description, for programs.
_FACTS: dict[str, Callable[[], dict[str, dict[str, str]]]] = {"gradients": _gradient_facts}


def run(words: Sequence[str], *, verb: str) -> int:
    """Print a list.

    Args:
        words: the words after the verb.
        verb: which list.

    Returns:
        The exit code.
    """
    options = parse_options(
        ListOptions,
        words,
        verb=verb,
        description=f"List the {verb}: name, then a description.",
    )
    entries = _LISTS[verb]()
    if options.json:
        facts = _FACTS[verb]() if verb in _FACTS else {}
        write_json(
            [
                {"name": name, "description": text, **facts.get(name, {})}
                for name, text in entries.items()
            ]
        )
        return 0
    width = max(map(len, entries), default=0)
    for name, text in entries.items():
        print(f"{name:<{width}}  {text}".rstrip())
    return 0
