"""What tests of several folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the full public data sets, for the tests that check against them.

    It is $ODEVISION_TEST_DATA or, if that is not set, the folder `shared/data` beside the checkout.
    """
    stated = os.environ.get("ODEVISION_TEST_DATA")
    folder = Path(stated) if stated else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the full data sets: no folder {folder} (set ODEVISION_TEST_DATA)")
    return folder
