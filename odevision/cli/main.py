"""The command `odevision`: finds the verb, runs it, turns errors into messages and exit codes."""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import odevision
from odevision.cli.errors import UsageError, unknown
from odevision.cli.output import say_error, set_up_logging

EXIT_DONE, EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


class Verb(NamedTuple):
    """One verb: where its `run(words) -> exit code` is, and one line about it."""

    module: str
    description: str


# Modules by name: a verb's heavy imports are paid only by who uses it.
VERBS: dict[str, Verb] = {
    "train": Verb("odevision.cli.train", "train a network by a recipe"),
    "evaluate": Verb("odevision.cli.evaluate", "measure a trained model on test images or videos"),
    "predict": Verb("odevision.cli.predict", "classify images or videos: files, folders, globs"),
    "calibrate": Verb("odevision.cli.calibrate", "fit probabilities and `unknown` to a model"),
    "plot": Verb("odevision.cli.plot", "draw what a model does and how it was trained"),
    "benchmark": Verb("odevision.cli.benchmark", "measure gradients on a model, recommend one"),
    "models": Verb("odevision.cli.listing", "list the networks"),
    "recipes": Verb("odevision.cli.listing", "list the recipes that `train` takes"),
    "solvers": Verb("odevision.cli.listing", "list the ODE solvers"),
    "gradients": Verb("odevision.cli.listing", "list the gradients of a solve"),
    "datasets": Verb("odevision.cli.listing", "list the data sets"),
    "weights": Verb("odevision.cli.listing", "list the trained weights that come along"),
}

_HELP = """\
usage: odevision VERB ... [--help]

Classifiers of images and videos made of neural ordinary differential equations.

verbs:
{verbs}

options:
  -h, --help  this text; after a verb, the verb's options
  --version   the version

MODEL, where a verb wants one, is a run directory (runs/mnist-mini), a checkpoint
directory, or the name of weights that come along (`odevision weights`).

first steps:
  odevision train mnist-mini
  odevision evaluate runs/mnist-mini
  odevision plot runs/mnist-mini

Set ODEVISION_DEBUG=1 to see where an error comes from.
"""


def _help() -> str:
    lines = [f"  {name:<10}{verb.description}" for name, verb in VERBS.items()]
    return _HELP.format(verbs="\n".join(lines))


def _run(words: list[str]) -> int:
    """Run a command line; errors come out as exceptions."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help(), end="")
        return EXIT_DONE
    name, rest = words[0], words[1:]
    if name == "--version":
        print(f"odevision {odevision.__version__}")
        return EXIT_DONE
    if name.startswith("-"):
        raise unknown("option", name, ["--help", "--version"])
    if name not in VERBS:
        raise unknown("verb", name, VERBS)
    set_up_logging()
    module = importlib.import_module(VERBS[name].module)
    return module.run(rest, verb=name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the words after the program's name; None takes the process's own.

    Returns:
        The exit code: 0 done, 2 for wrong usage or bad input, 1 for a failure, 130 when
        interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # Names of files need not be text; such bytes are shown as escapes.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    is_debugging = os.environ.get("ODEVISION_DEBUG", "") not in ("", "0")
    try:
        return _run(words)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        say_error("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (such as `head`) has gone. Python would complain again when it flushes
        # stdout at exit, so that goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except UsageError as error:
        say_error(str(error))
        verb = f" {words[0]}" if words and words[0] in VERBS else ""
        print(f"See `odevision{verb} --help`.", file=sys.stderr)
        return EXIT_USAGE
    except (
        ValueError,
        FileExistsError,
        FileNotFoundError,
        NotADirectoryError,
        IsADirectoryError,
    ) as error:
        if is_debugging:
            raise
        say_error(str(error))
        return EXIT_USAGE
    except Exception as error:
        if is_debugging:
            raise
        say_error(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        print("Set ODEVISION_DEBUG=1 to see where it comes from.", file=sys.stderr)
        return EXIT_FAILURE
