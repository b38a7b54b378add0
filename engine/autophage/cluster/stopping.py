"""Signals that stop a run, and the time that each grants.

    Ctrl-C            leave now
    SIGTERM           commit what is possible within `TERM_GRACE`, then leave; exit code 130
    SIGUSR1           the same within `cluster.grace`; exit code 75, for a scheduler to queue the job again
    any of them again leave now; a third time kills every process

A run without a generation in progress leaves at once. This module owns the signals while a run works. The driver
decides what can be committed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from autophage.errors import RequeueInterrupt
from autophage.host import processes

TERM_GRACE = 20.0
"""Slurm and Kubernetes leave 30 s between SIGTERM and SIGKILL by default. Ray needs some of them to shut down."""
UNWINDING_SECONDS = 10.0
"""Time for this process to remove files after all others were killed."""
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopping:
    """The request to stop a run, if a signal has made one."""

    def __init__(self, grace: float, leave_nothing: Callable[[], None]) -> None:
        """Set up the state before any request.

        Args:
            grace: Seconds that SIGUSR1 grants.
            leave_nothing: Removes temporary files where the process cannot exit normally.
        """
        self._leave_nothing = leave_nothing
        self._graces = {signal.SIGTERM: TERM_GRACE, signal.SIGUSR1: grace}
        self._by: signal.Signals | None = None
        self._until = 0.0
        self._waiting = self._leaving = False

    @property
    def asked(self) -> str:
        """Name of the signal that asked the run to stop; "" before one has."""
        return "" if self._by is None else self._by.name

    @property
    def grace(self) -> float:
        """Seconds that the signal grants; 0 without a signal, or one that grants none."""
        return 0.0 if self._by is None else self._graces.get(self._by, 0.0)

    def seconds_left(self) -> float:
        """Return the seconds that are left of the grace."""
        return self._until - time.monotonic()

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Defer stop signals while the body of the `with` statement runs, which must poll `asked` and stop by itself.

        Outside of the body a signal ends the run at once.
        """
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def leave(self) -> NoReturn:
        """Raise the exception that ends the run with the exit code of the signal."""
        self._leaving = True
        if self._by is signal.SIGUSR1:
            raise RequeueInterrupt("stopped by SIGUSR1; the same command resumes after the last commit")
        raise KeyboardInterrupt

    def hear(self, signum: int, frame: FrameType | None = None) -> None:
        """Handle a signal. The first may grant time, a further one ends the run.

        A signal while the run ends kills every process.
        """
        if self._leaving:
            self._end_on_the_spot()
            return
        again, self._by = self._by is not None, self._by or signal.Signals(signum)
        if self._waiting and not again and self._by in self._graces:
            self._until = time.monotonic() + self.grace
        else:
            self.leave()

    def _end_on_the_spot(self) -> None:
        """Kill every process of this run, and this one too if it does not exit in time."""
        processes.kill(processes.descendants())
        timer = threading.Timer(UNWINDING_SECONDS, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> NoReturn:
        processes.kill(processes.descendants())
        self._leave_nothing()
        os._exit(128 + signal.SIGINT)


@contextmanager
def heeding(stopping: Stopping) -> Iterator[None]:
    """Send the stop signals of this process to `stopping` during the body.

    Outside of the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in HEARD}
    for one in HEARD:
        if before[one] is not signal.SIG_IGN:  # as in a background job of a shell, which Ctrl-C must not end
            signal.signal(one, stopping.hear)
    try:
        yield
    finally:
        for one, handler in before.items():
            if handler is not None:  # None: not set by Python
                signal.signal(one, handler)
