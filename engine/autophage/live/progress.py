"""Progress bar for commands with a single task. It appears only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from autophage.progress import Meter


@contextmanager
def progress_bar(what: str, unit: str) -> Iterator[Meter]:
    """Show a progress bar on standard error, and yield the meter that moves it.

    `what` labels the bar, `unit` its counts. If standard error is no terminal, there is no bar.
    """
    if not sys.stderr.isatty():
        yield Meter()
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn(what),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn(unit),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield Meter(lambda now: bar.update(task, completed=now.done, total=now.total))
