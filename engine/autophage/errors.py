"""Exceptions. Each message states the problem, its place and the remedy.

The user can fix a `UserError` (exit code 2). A `RunError` is a failure of the run (exit code 1). Both hold plain strings, so
that they can be pickled between processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class AutophageError(Exception):
    """Base of all exceptions that this package raises on purpose."""

    exit_code = 1


class UserError(AutophageError, ValueError):
    """A request that cannot be met. The message says how to fix it."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe with faults. The message has file, line and column, the likely meaning, and the remedy of each."""


class RunError(AutophageError, RuntimeError):
    """A failure of the run, for example a dead actor or a number that is not finite."""


class SwapError(RunError):
    """The sampler does not serve the trainer's weights. The swap was rolled back."""


class StoreError(RunError):
    """A run directory differs from its manifests."""


class EngineDeadError(RunError):
    """The engine in a living sampler process is dead. Only a new process can sample again."""


class RequeueInterrupt(KeyboardInterrupt):
    """The scheduler reclaims the machine. The run stopped and should be queued again (exit code 75)."""


@contextmanager
def foreign_errors(problem: str, remedy: str) -> Iterator[None]:
    """Turn whatever a library raises over the user's files in the body into one `UserError` with its first line.

    Loaders raise exceptions of many libraries, and any of them means the same: the files cannot be used. The package's
    own errors and exhausted memory pass.

    Args:
        problem: What cannot be done, and with which file. The library's words follow in parentheses.
        remedy: Whole sentences.
    """
    try:
        yield
    except (AutophageError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's; this module imports nothing heavy
            raise
        raise UserError(f"{problem} ({first_line(error)}). {remedy}") from error


UNREADABLE = (OSError, ValueError, KeyError, NotImplementedError, MemoryError)
"""Exceptions that pyarrow raises for a file that is damaged or not Parquet."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, at most 200 characters, for messages that quote it.

    A line that ends with a colon announces the next one, which is added. An error without text gives the name of its type.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    announced = f" {lines[1].strip()}" if lines[0].rstrip().endswith(":") and len(lines) > 1 else ""
    return f"{lines[0].rstrip()}{announced}"[:200]
