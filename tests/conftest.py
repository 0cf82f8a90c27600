"""What tests of several folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the full public data sets, for the tests that check against them."""
    stated = os.environ.get("ODEVISION_TEST_DATA", "")
    folder = Path(stated)
    if not stated or not folder.is_dir():
        pytest.skip("needs the full data sets: set ODEVISION_TEST_DATA to the folder that has them")
    return folder
