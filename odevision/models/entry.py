"""One line of a registry of networks."""

from collections.abc import Callable
from typing import Any, NamedTuple


class ModelEntry(NamedTuple):
    """A network: the class of its configuration, what builds it from one, and a line about it."""

    config: type[Any]
    model: Callable[[Any], Any]
    description: str
