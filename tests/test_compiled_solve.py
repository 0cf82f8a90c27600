"""Solves with fixed steps under torch.compile, and solves with compiled steps.

Apart from the other tests: their type checks at every call would be compiled too.
"""

import subprocess
import sys
from pathlib import Path

import pytest

FILES = ("compiled_solve.py", "compiled_steps.py", "compiled_whole.py")
CASES = [Path(__file__).with_name(name) for name in FILES]
each_file = pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)


def run_cases(cases: Path, marked: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs"]
    options = ["-o", "addopts=", "-o", "filterwarnings=", "-m", marked]
    run = subprocess.run(
        [*command, *options, str(cases)], capture_output=True, text=True, cwd=cases.parent
    )
    assert run.returncode == 0, run.stdout
    if " passed" not in run.stdout:
        pytest.skip(run.stdout)


@each_file
def test_solves_compile_with_the_same_numbers(cases: Path) -> None:
    run_cases(cases, "not slow")


@pytest.mark.slow
@each_file
def test_the_default_compiler_keeps_the_numbers(cases: Path) -> None:
    run_cases(cases, "slow")
