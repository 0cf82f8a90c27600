"""A progress bar on stderr for work done in batches."""

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from odevision.cli.output import notes_console


@contextlib.contextmanager
def batch_progress(
    description: str, *, hidden: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while images are answered; nothing where stderr is no terminal.

    Args:
        description: what is being done.
        hidden: show no bar there either, as where a live video says itself how it goes.

    Yields:
        A function to call with (images done, images in all); when a new round of work begins
        at a lower count, the bar begins anew.
    """
    console = notes_console()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
        redirect_stdout=False,
    )
    with progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
