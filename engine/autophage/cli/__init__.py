"""The command line, `autophage VERB`: `main` turns every outcome into an exit code and at most one message.

    0 done    1 failure    2 user error    75 stopped by a scheduler, to be queued again    130 interrupted

The verbs are in the modules of this package. They import engine, store and report when they run, so that help, `recipes`
and `status` start at once.
"""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from cyclopts import CycloptsError

from autophage.cli import streams
from autophage.display import safe
from autophage.errors import AutophageError, RequeueInterrupt
from autophage.host import bytecode
from autophage.host.credentials import without_credentials

FAILURE, USER_ERROR, INTERRUPTED = 1, 2, 130
REFUSALS = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTSUP,
    errno.ESTALE,
    errno.EMFILE,
)
"""Error numbers with which a system refuses a file: rights, a disk that fails, an operation that the file system lacks."""
REMEDY = "The system refuses this. What was committed stays. Mend the file system or the rights, or use another folder."
REQUEUE = 75
"""Exit code for a scheduler: the same command may succeed later (EX_TEMPFAIL of sysexits.h)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb of the command line and return the exit code.

    Args:
        arguments: Words after the name of the program; None takes those of this process.
    """
    if arguments is None:
        streams.open_closed_streams()
        streams.restart_in_utf8()
        streams.escape_what_does_not_fit()
        bytecode.keep()
    from autophage.cli.app import build_app
    from autophage.cli.benchmarking import names_benchmark, run_benchmark

    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _termination_as_interrupt():
            if names_benchmark(tokens):
                code = run_benchmark(tokens[1], tokens[2:])
            else:
                code = build_app()(tokens, result_action="return_value")
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        return _fail(f"{error} `autophage {_verb(tokens)}--help` lists the options.", USER_ERROR)
    except AutophageError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt as interrupt:
        print(safe(str(interrupt) or "interrupted"), file=sys.stderr)
        return REQUEUE if isinstance(interrupt, RequeueInterrupt) else INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe ended, as `head` does. Without this, Python prints an error when it flushes at exit.
        streams.give_up_output()
        return FAILURE
    except OSError as error:
        if error.filename is not None and error.errno in REFUSALS:
            return _fail(f"{error.filename}: {error.strerror}. {REMEDY}", FAILURE)
        if not streams.is_lost_output(error):
            return _unexpected(error)
        streams.give_up_output()
        return _fail(f"standard output takes no more: {error.strerror}", FAILURE)
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    traceback.print_exc()
    return _fail(f"unexpected {type(error).__name__}: {error}. This is a bug in autophage.", FAILURE)


def _fail(message: str, code: int) -> int:
    print(f"error: {safe(without_credentials(message), keep=chr(10))}", file=sys.stderr)
    return code


def _verb(tokens: Sequence[str]) -> str:
    from autophage.cli.app import VERBS

    return f"{tokens[0]} " if tokens and tokens[0] in VERBS else ""


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Raise `KeyboardInterrupt` on SIGTERM, with which clusters end jobs.

    Terminal and run directory are then left tidy, as after Ctrl-C.
    """

    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt("terminated")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
