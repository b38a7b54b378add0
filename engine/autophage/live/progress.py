"""Progress of commands with a single task: a bar, or a spinner where nothing counts. They appear only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from autophage.progress import Meter


@contextmanager
def progress_bar(what: str, unit: str, stream: TextIO | None = None) -> Iterator[Meter]:
    """Show a progress bar on `stream`, and yield the meter that moves it.

    `what` labels the bar, `unit` its counts. The stream is standard error if it is None. If it is no terminal, there is
    no bar.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
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
    with progress.Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield Meter(lambda now: bar.update(task, completed=now.done, total=now.total))


@contextmanager
def spinner(what: str, stream: TextIO | None = None) -> Iterator[None]:
    """Show a spinner with the label `what` on `stream`, or on standard error. If it is no terminal, there is none."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield
        return
    from rich.console import Console

    with Console(file=stream).status(what):
        yield
