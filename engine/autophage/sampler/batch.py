"""The requests of one call to the sampler, and their documents as they end. Plain bookkeeping: knows neither vLLM nor torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from autophage.errors import RunError
from autophage.sampler.protocol import Completion, Served
from autophage.sampler.record import Record

Ended = Callable[[int, int, list[int]], None]
"""Called with (number of the job, place of a document in it, its token ids) for each document that ends."""


class Asked(NamedTuple):
    """One request as vLLM takes it: `params` are its SamplingParams."""

    served: Served
    prompt_ids: list[int]
    params: Any


@dataclass
class Batch:
    """The documents of one call, as far as they are finished. `owners` says whose job each is, by number."""

    owners: list[int]
    ended: Ended
    request_ids: dict[int, str] = field(default_factory=dict)
    """vLLM's internal ids, under which statistics are recorded, by the place of the document."""
    done: dict[int, Completion] = field(default_factory=dict)
    fault: RunError | None = None
    """What is wrong with the statistics that were recorded of it."""

    @property
    def finished(self) -> bool:
        return len(self.done) == len(self.owners)

    def take(self, index: int, completion: Completion) -> None:
        job = self.owners[index]
        self.done[index] = completion
        self.ended(job, index - self.owners.index(job), completion.token_ids)

    def join(self, record: Record) -> None:
        """Join the documents with what was recorded of them, or keep what is wrong with it for the caller."""
        try:
            record.require_faultless()
            for index, request_id in self.request_ids.items():
                one = self.done[index]
                self.done[index] = replace(one, statistics=record.statistics(request_id, one.token_ids))
        except RunError as fault:
            self.fault = fault

    def result(self) -> list[Completion]:
        if self.fault is not None:
            raise self.fault
        return [self.done[index] for index in range(len(self.owners))]
