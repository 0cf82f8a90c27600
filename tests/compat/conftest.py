"""The libraries whose programs are run: odevision's drop-in, and torchdiffeq where installed."""

from types import ModuleType

import pytest

from odevision.compat import torchdiffeq as drop_in


@pytest.fixture
def torchdiffeq() -> ModuleType:
    """The real library."""
    return pytest.importorskip("torchdiffeq", reason="needs torchdiffeq to compare with")


@pytest.fixture(params=["drop-in", "torchdiffeq"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    """Either library: what a test asserts of both is torchdiffeq's interface."""
    return drop_in if request.param == "drop-in" else request.getfixturevalue("torchdiffeq")
