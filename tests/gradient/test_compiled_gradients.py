"""Gradients with options under torch.compile, in a process of its own: see test_compiled_solve."""

from pathlib import Path

from test_compiled_solve import run_cases


def test_gradients_compile_with_the_same_numbers() -> None:
    run_cases(Path(__file__).with_name("compiled_gradients.py"), "not slow")
