"""What a wrong command line raises, and the suggestion that goes with it."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """The command line cannot be understood or asks for something impossible."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most like the given one, or None if all are far from it.

    A dotted option is also found by its last part (`--batch-size` for `--data.batch-size`) and by
    that part's initials (`--lr` for `--optimizer.learning-rate`).

    Args:
        word: what was typed.
        known: what exists.
    """
    names = sorted(known)
    last_parts = {name: name.lstrip("-").rsplit(".", 1)[-1] for name in names}
    typed = word.lstrip("-").rsplit(".", 1)[-1]
    for name, part in last_parts.items():
        initials = "".join(piece[:1] for piece in part.split("-"))
        if typed == part or (len(typed) > 1 and typed == initials):
            return name
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if found:
        return found[0]
    close_parts = difflib.get_close_matches(typed, last_parts.values(), n=1, cutoff=0.6)
    return next((name for name, part in last_parts.items() if part in close_parts), None)


def nearest_option(word: str, known: Iterable[str]) -> str | None:
    """Return the known option most like the given one, however far; None if there are none.

    Args:
        word: what was typed.
        known: what exists.
    """
    names = sorted(known)
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.0)
    return nearest(word, names) or next(iter(found), None)


def unknown(what: str, word: str, known: Iterable[str]) -> UsageError:
    """Make the error for a name that does not exist.

    Args:
        what: kind of thing, such as "recipe".
        word: what was typed.
        known: what exists.
    """
    names = sorted(known)
    guess = nearest_option(word, names) if what == "option" else nearest(word, names)
    text = f"unknown {what} `{word}`"
    if guess is not None:
        text += f"; did you mean `{guess}`?"
    if names and not what.startswith("option"):
        text += f"\nThere are: {', '.join(names)}."
    return UsageError(text)
