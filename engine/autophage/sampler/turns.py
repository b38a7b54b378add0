"""A fair lock for the threads that share one engine.

Python's own lock is not fair. A thread that steps the engine in a loop would retake it before a waiting thread wakes.
"""

from __future__ import annotations

from threading import Condition
from types import TracebackType


class Turns:
    """A lock that is granted first come, first served. It is not reentrant."""

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
