"""Which requests are in the engine and which wait outside: everything goes in at once, until a step runs out of memory.

Then all are taken back, and from there on half as many are let in at a time, in the same order; a request that was under way
begins again with its own seed. Plain bookkeeping: knows neither vLLM nor torch.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from autophage.errors import RunError
from autophage.sampler.batch import Asked, Batch


class Place(NamedTuple):
    """Where the document of a request belongs: its batch, and its place in it."""

    batch: Batch
    number: int
    asked: Asked


class Window:
    """`concurrency` is how many requests the engine computes at once by itself; those beyond it wait inside of it."""

    def __init__(self, concurrency: int) -> None:
        self.open: dict[str, Place] = {}
        """What is in the engine, by request id, in the order in which it went in."""
        self.note = ""
        """What is to be said of memory that ran out, once; whoever says it takes it away."""
        self._waiting: deque[Place] = deque()
        self._concurrency = concurrency
        self._limit: int | None = None

    def add(self, place: Place) -> None:
        self._waiting.append(place)

    def next(self) -> Place | None:
        """What may enter now, taken off those that wait; None where nothing waits or there is no room."""
        if not self._waiting or (self._limit is not None and len(self.open) >= self._limit):
            return None
        return self._waiting.popleft()

    def unfinished(self) -> list[Batch]:
        """The batches that have a request in the engine or outside of it."""
        found = {id(place.batch): place.batch for place in (*self.open.values(), *self._waiting)}
        return list(found.values())

    def shrink(self) -> list[str]:
        """After a step that ran out of memory: the ids of all requests, which leave the engine and wait again.

        Raises:
            RunError: there was only one.
        """
        tried = min(len(self.open), self._concurrency)
        if tried <= 1:
            raise RunError(
                "out of memory in sampling, with one document at a time. Lower sample.max_tokens, source.block or sample.memory, "
                'or give the sampler a GPU of its own (devices = "disjoint").'
            )
        self._limit = tried // 2
        self.note = (
            f"out of memory in sampling: documents are written {self._limit} at a time from here on. Each keeps its seed, "
            "so that corpora are the same up to rounding"
        )
        ids = list(self.open)
        self._waiting.extendleft(reversed(self.open.values()))
        self.open.clear()
        return ids
