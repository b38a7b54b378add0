"""Standard streams and text encoding of the process, made usable before anything is read or written.

A closed stream becomes the null device: its number would otherwise be given to the next file, and output would go into
that. In a locale without UTF-8, Python starts again in UTF-8 mode, so that names of files and texts are as written.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

from autophage.display import safe
from autophage.errors import UserError

OUTPUT_LOST = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)
"""Error numbers of a standard stream that takes no more output."""
STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def open_closed_streams() -> None:
    """Open each closed standard stream on the null device."""
    for number, name, mode in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # stays open


def escape_what_does_not_fit() -> None:
    """Make the standard streams write a character that their encoding lacks as an escape, where they would fail.

    PYTHONIOENCODING sets an encoding apart from the locale's.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def libraries_unheard() -> Iterator[TextIO]:
    """Keep from the terminal what libraries print in the body. Yield standard error, for the program's own progress.

    The kept text follows on standard error if the body fails without a message of its own. What libraries print when the
    process ends is kept too: some list their leaks.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # It stays open: loggers that were set up in the body write to it until the process ends.
    kept = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115
    saved = {number: os.dup(number) for number in (1, 2)}
    failed = False
    try:
        for number in saved:
            os.dup2(kept.fileno(), number)
        with (
            redirect_stdout(kept),
            redirect_stderr(kept),
            open(saved[2], "w", encoding="utf-8", closefd=False) as shown,
        ):
            yield shown
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException:
        failed = True
        raise
    finally:
        for number, copy in saved.items():
            os.dup2(copy, number)
            os.close(copy)
        atexit.register(os.dup2, os.dup(kept.fileno()), 2)
        if failed:
            kept.seek(0)
            sys.stderr.write(safe(kept.read(), keep="\n"))


def restart_in_utf8() -> None:
    """Start this process again in Python's UTF-8 mode, if names of files have another encoding."""
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def is_lost_output(error: OSError) -> bool:
    """Return True if `error` comes from a standard stream. Errors of files name the file."""
    return error.filename is None and error.errno in OUTPUT_LOST


def give_up_output() -> None:
    """Send further output to the null device. Python would otherwise fail again when it flushes at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
