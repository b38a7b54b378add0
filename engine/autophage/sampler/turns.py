"""One engine, several threads that want something of it: they take turns, in the order of asking.

Python's own lock is not fair: a thread that steps the engine in a loop would let go and take it again before anyone who
waits is woken.
"""

from __future__ import annotations

from threading import Condition
from types import TracebackType


class Turns:
    """A lock that is handed on first come, first served. Not reentrant."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._tickets = 0
        self._turn = 0

    def __enter__(self) -> None:
        with self._changed:
            ticket = self._tickets
            self._tickets += 1
            self._changed.wait_for(lambda: self._turn == ticket)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._turn += 1
            self._changed.notify_all()
