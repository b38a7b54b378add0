"""Open a run directory for a verb, and log crashes in it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import CycloptsError

from autophage.cli.streams import is_lost_output
from autophage.errors import AutophageError
from autophage.host.credentials import without_credentials
from autophage.store.confined import require_confined
from autophage.store.rundir import RunDirectory

if TYPE_CHECKING:
    from autophage.recipe.arms import Arm

CRASH_LOG = "crash.log"


class CrashError(AutophageError):
    """An unexpected error, which is a bug in this program. The run's `logs/crash.log` has the traceback."""


@contextmanager
def opened(directory: Path) -> Iterator[RunDirectory]:
    """Yield the run in `directory`, and log unexpected errors of the block.

    Raises:
        UserError: The directory holds no run, or a link in it leads out of it.
    """
    run = RunDirectory(directory).require()
    require_confined(run)
    with crashes_logged(run):
        yield run


@contextmanager
def crashes_logged(run: RunDirectory) -> Iterator[None]:
    """Write the traceback of an unexpected exception to the run's log, and raise a short `CrashError` instead.

    Foreseen errors pass unchanged. So does any error before the run exists.
    """
    try:
        yield
    except (AutophageError, CycloptsError, BrokenPipeError):
        raise
    except Exception as error:
        if not run.exists or (isinstance(error, OSError) and is_lost_output(error)):
            raise
        path = run.logs / CRASH_LOG
        try:
            run.logs.mkdir(exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{without_credentials(traceback.format_exc())}\n")
        except OSError:
            raise error from None  # the log cannot be written, so the terminal shows the traceback
        raise CrashError(f"unexpected {type(error).__name__}: {error}. The traceback is in {path}.") from error


def arms_of(run: RunDirectory) -> list[Arm]:
    """Return the arms that the run's own recipe expands to, in order."""
    from autophage.recipe import expand, read_resolved

    return expand(read_resolved(run.recipe))
