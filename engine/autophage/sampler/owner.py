"""The thread that owns an engine: it alone calls vLLM, and other threads hand their work over and wait.

On a GPU vLLM keeps a stream per thread, and waits for results on the stream of the thread that it started in. A step from
another thread would copy its tokens too early. Work is done first come, first served. Knows nothing of vLLM.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_Queue = SimpleQueue[tuple[Callable[[], Any], "Future[Any]"] | None]


class OwnerThread:
    """A thread that does the work of other threads, one piece at a time and in the order of the calls."""

    def __init__(self, name: str) -> None:
        self._queue: _Queue = SimpleQueue()
        # Without a reference to this object, so that it ends with its last user, and the thread with it.
        self._thread = Thread(target=_serve, args=(self._queue,), name=name, daemon=True)
        self._thread.start()
        weakref.finalize(self, self._queue.put, None)

    @property
    def wanted(self) -> bool:
        """True if another thread's work waits. Long work that can be continued ends early then."""
        return not self._queue.empty()

    def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` in the owning thread, and return its result or raise its error here.

        Work of the owning thread itself is done at once.
        """
        if current_thread() is self._thread:
            return work(*args, **kwargs)
        result: Future[T] = Future()
        self._queue.put((lambda: work(*args, **kwargs), result))
        return result.result()


def _serve(queue: _Queue) -> None:
    while (asked := queue.get()) is not None:
        work, result = asked
        try:
            result.set_result(work())
        except BaseException as error:  # of any type: the caller gets it
            result.set_exception(error)
        # While the next work is awaited, nothing of this one is kept alive.
        del asked, work, result
