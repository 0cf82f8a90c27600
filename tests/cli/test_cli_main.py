import importlib
import logging
from collections.abc import Callable

import pytest

import odevision
from odevision.cli import main as main_module
from odevision.cli.main import VERBS
from odevision.cli.output import set_up_logging


def test_without_words_the_help_names_all_verbs(invoke: Callable) -> None:
    outcome = invoke()
    assert outcome.code == 0
    for verb in (
        "train",
        "evaluate",
        "predict",
        "plot",
        "models",
        "recipes",
        "solvers",
        "datasets",
    ):
        assert f"  {verb}" in outcome.out


def test_the_version_is_printed(invoke: Callable) -> None:
    assert invoke("--version").out == f"odevision {odevision.__version__}\n"


def test_an_unknown_verb_exits_with_2_and_a_suggestion(invoke: Callable) -> None:
    outcome = invoke("evalute")
    assert outcome.code == 2
    assert "unknown verb `evalute`; did you mean `evaluate`?" in outcome.err
    assert outcome.out == ""


def test_an_unknown_option_before_the_verb_exits_with_2(invoke: Callable) -> None:
    outcome = invoke("--versoin")
    assert outcome.code == 2
    assert "did you mean `--version`?" in outcome.err


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "train"])
def test_every_verb_has_help_and_refuses_an_unknown_option(verb: str, invoke: Callable) -> None:
    outcome = invoke(verb, "--help")
    assert outcome.code == 0
    assert f"odevision {verb}" in outcome.out
    outcome = invoke(verb, "--jsno" if verb != "plot" else "--outt")
    assert outcome.code == 2
    assert "unknown option" in outcome.err
    assert "did you mean `--" in outcome.err


def test_a_bug_is_one_message_and_exit_code_1(
    invoke: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(words: list[str], *, verb: str) -> int:
        raise RuntimeError("the moon is full")

    listing = importlib.import_module("odevision.cli.listing")
    monkeypatch.setattr(listing, "run", fail)
    monkeypatch.delenv("ODEVISION_DEBUG", raising=False)
    outcome = invoke("models")
    assert outcome.code == 1
    assert "error: RuntimeError: the moon is full" in outcome.err
    assert "Traceback" not in outcome.err


def test_the_traceback_is_there_for_who_asks(
    invoke: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(words: list[str], *, verb: str) -> int:
        raise RuntimeError("the moon is full")

    listing = importlib.import_module("odevision.cli.listing")
    monkeypatch.setattr(listing, "run", fail)
    monkeypatch.setenv("ODEVISION_DEBUG", "1")
    with pytest.raises(RuntimeError, match="the moon is full"):
        invoke("models")


def test_ctrl_c_exits_with_130(invoke: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "_run", interrupt)
    assert invoke("models").code == 130


def test_a_note_of_the_library_is_one_line_of_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    set_up_logging()
    text = "a long [red] path: " + "folder/" * 40
    logging.getLogger("odevision.data").warning("%s", text)
    captured = capsys.readouterr()
    assert captured.err == f"WARNING  {text}\n"
    assert captured.out == ""
