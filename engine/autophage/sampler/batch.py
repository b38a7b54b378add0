"""The requests of one call to the sampler, and their documents as they end.

Plain bookkeeping that knows neither vLLM nor torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from autophage.errors import RunError
from autophage.sampler.protocol import Completion, Served
from autophage.sampler.record import Record

Ended = Callable[[int, int, list[int]], None]
"""Called with each document that ends.

The arguments are the number of its job, its place in the job and its token ids.
"""


class Asked(NamedTuple):
    """One request as vLLM takes it. `params` are vLLM's `SamplingParams`."""

    served: Served
    prompt_ids: list[int]
    params: Any


@dataclass
class Batch:
    """The requests of one call, and their documents as they end. `owners` holds the job number of each document."""

    owners: list[int]
    ended: Ended
    request_ids: dict[int, str] = field(default_factory=dict)
    """vLLM's internal request ids by the index of the document. Statistics are recorded under them."""
    done: dict[int, Completion] = field(default_factory=dict)
    """Finished documents by their index in the call."""
    fault: RunError | None = None
    """Fault of the recorded statistics, raised by `result`."""

    @property
    def finished(self) -> bool:
        return len(self.done) == len(self.owners)

    def take(self, index: int, completion: Completion) -> None:
        """Add the finished document `index`, and report it through `ended`."""
        job = self.owners[index]
        self.done[index] = completion
        self.ended(job, index - self.owners.index(job), completion.token_ids)

    def join(self, record: Record) -> None:
        """Give each document its recorded token statistics. A fault of the record is kept for `result`."""
        try:
            record.require_faultless()
            for index, request_id in self.request_ids.items():
                one = self.done[index]
                self.done[index] = replace(one, statistics=record.statistics(request_id, one.token_ids))
        except RunError as fault:
            self.fault = fault

    def result(self) -> list[Completion]:
        """Return all documents in the order of their requests.

        Raises:
            RunError: The record of statistics has a fault.
        """
        if self.fault is not None:
            raise self.fault
        return [self.done[index] for index in range(len(self.owners))]
