"""Errors for people: each says which value, where, and what to do about it.

`UserError` is whatever the user can mend (exit code 2); `RunError` is a failure of the run itself (exit code 1). Both
keep to plain strings, so they survive pickling between processes.
"""

from __future__ import annotations


class AutophageError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code = 1


class UserError(AutophageError, ValueError):
    """Something the user asked for cannot be had; the message says how to mend it."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe that does not say what it must: file, line, column, what was meant, how to mend it."""


class RunError(AutophageError, RuntimeError):
    """The run failed while working: an actor died, a swap was not verified, a number was not finite."""


class SwapError(RunError):
    """The sampler does not serve what the trainer trained; the swap was rolled back."""


class StoreError(RunError):
    """A run directory holds something other than its manifests say."""


class EngineDeadError(RunError):
    """The sampler's process lives and its engine does not: nothing but another process will write a token."""


class RequeueInterrupt(KeyboardInterrupt):
    """The run left because its scheduler takes the machine away, and wants to be queued again (exit code 75)."""


UNREADABLE = (OSError, ValueError, KeyError, NotImplementedError, MemoryError)
"""What pyarrow raises for a Parquet file that is none or is damaged, by its kinds."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for messages that quote it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
