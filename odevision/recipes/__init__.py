"""Named experiments: each is a function that returns one typed configuration.

Its docstring states command, time and result. `RECIPES` is the explicit list.
"""

from collections.abc import Callable

from odevision.recipes.cifar10 import (
    cifar10,
    cifar10_best,
    cifar10_fast,
    cifar10_report,
    cifar10_small,
    cifar100,
)
from odevision.recipes.debug import debug
from odevision.recipes.folder import folder
from odevision.recipes.mnist import mnist, mnist_mini
from odevision.recipes.video import hmdb51, motion, ucf5, ucf101
from odevision.training.config import TrainConfig

RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "mnist-mini": mnist_mini,
    "mnist": mnist,
    "cifar10-fast": cifar10_fast,
    "cifar10": cifar10,
    "cifar10-best": cifar10_best,
    "cifar10-small": cifar10_small,
    "cifar100": cifar100,
    "cifar10-report": cifar10_report,
    "folder": folder,
    "motion": motion,
    "ucf5": ucf5,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "debug": debug,
}


def list_recipes() -> list[str]:
    """Names that `odevision train` takes."""
    return list(RECIPES)


__all__ = ["RECIPES", "list_recipes"]
