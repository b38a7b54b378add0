"""How a run is asked to stop, and the time that it has for it.

    Ctrl-C            leave now
    SIGTERM           commit what can be within `TERM_GRACE`, then leave; exit code 130
    SIGUSR1           the same within `cluster.grace`; exit code 75, for a scheduler to queue the job again
    any of them again leave now; and once more: end every process on the spot

A run that has nothing in the making leaves at once. Owns the signals while a run is at work; what can be committed is the
driver's matter.
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
"""Slurm and Kubernetes leave 30 s between SIGTERM and SIGKILL by default, and Ray takes some of them to leave."""
UNWINDING_SECONDS = 10.0
"""For this process to tidy up after all others were ended; it only removes files then."""
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopping:
    """`asked` is empty, or the signal by which the run was asked to stop."""

    def __init__(self, grace: float, leave_nothing: Callable[[], None]) -> None:
        """`grace` is what SIGUSR1 grants, in seconds; `leave_nothing` removes temporary files where the way out is blocked."""
        self._leave_nothing = leave_nothing
        self._graces = {signal.SIGTERM: TERM_GRACE, signal.SIGUSR1: grace}
        self._by: signal.Signals | None = None
        self._until = 0.0
        self._waiting = self._leaving = False

    @property
    def asked(self) -> str:
        return "" if self._by is None else self._by.name

    @property
    def grace(self) -> float:
        return 0.0 if self._by is None else self._graces.get(self._by, 0.0)

    def seconds_left(self) -> float:
        return self._until - time.monotonic()

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """In here somebody looks at `asked` from time to time; elsewhere a signal ends the run at once."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def leave(self) -> NoReturn:
        """Raise what ends the run with the exit code of the signal."""
        self._leaving = True
        if self._by is signal.SIGUSR1:
            raise RequeueInterrupt("stopped by SIGUSR1; the same command goes on after the last commit")
        raise KeyboardInterrupt

    def hear(self, signum: int, frame: FrameType | None = None) -> None:
        """A signal came."""
        if self._leaving:
            self._end_on_the_spot()
            return
        again, self._by = self._by is not None, self._by or signal.Signals(signum)
        if self._waiting and not again and self._by in self._graces:
            self._until = time.monotonic() + self.grace
        else:
            self.leave()

    def _end_on_the_spot(self) -> None:
        """Take every process of this run along, and see that this one ends too, even where its way out is blocked."""
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
    """Let the signals of this process, which must be in its main thread, go to `stopping`; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in HEARD}
    for one in HEARD:
        if before[one] is not signal.SIG_IGN:  # as in a background job of a shell, which Ctrl-C is not meant for
            signal.signal(one, stopping.hear)
    try:
        yield
    finally:
        for one, handler in before.items():
            if handler is not None:  # set by other means than Python's
                signal.signal(one, handler)
