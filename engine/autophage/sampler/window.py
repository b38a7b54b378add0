"""The requests in the engine, and those that wait for room.

Requests enter in their order, up to `AHEAD` times as many as are computed at once. If a step runs out of memory, all are
withdrawn. Half as many as were computed then enter at a time, in the same order. An interrupted request begins again with its
own seed. Plain bookkeeping that knows neither vLLM nor torch.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from autophage.errors import RunError
from autophage.sampler.batch import Asked, Batch

AHEAD = 2
"""Requests in the engine for each that it computes at once.

As many wait in the engine as can end in one step, so that each step is as if all had entered. The others take no time of the
first step, and no memory of the engine.
"""


class Place(NamedTuple):
    """A document's batch, its index in that batch, and the request for it."""

    batch: Batch
    number: int
    asked: Asked


class Window:
    """The requests in the engine, and those that wait for room in it.

    `concurrency` is the number of requests that the engine computes at once.
    """

    def __init__(self, concurrency: int) -> None:
        self.open: dict[str, Place] = {}
        """The requests in the engine, by id and in order of entry."""
        self.note = ""
        """Pending message for the user; the reader clears it."""
        self._waiting: deque[Place] = deque()
        self._concurrency = concurrency
        self._limit = AHEAD * concurrency

    def add(self, place: Place) -> None:
        self._waiting.append(place)

    def next(self) -> Place | None:
        """Remove and return the next request that may enter. None where none waits or there is no room."""
        if not self._waiting or len(self.open) >= self._limit:
            return None
        return self._waiting.popleft()

    def unfinished(self) -> list[Batch]:
        """Return the batches that have a request in the engine or waiting, each once."""
        found = {id(place.batch): place.batch for place in (*self.open.values(), *self._waiting)}
        return list(found.values())

    def shrink(self) -> list[str]:
        """Put all requests back among the waiting ones, and return their ids.

        A step has run out of memory. From then on half as many enter at a time.

        Raises:
            RunError: There was only one request.
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
