"""A corpus whose documents are still being written.

The writer's thread stores token ids with `put`, in any order. A reader of a sample's tokens waits for them. This
module knows neither writer nor reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Any

from autophage.errors import RunError

LATE_SECONDS = 3600.0
"""Longest wait for one document, in seconds. The largest models on a busy device write hundreds in that time."""


@dataclass(frozen=True)
class LateSample:
    """A sample of a corpus that is still being written, reduced to the fields that training needs.

    No gate judges it. Gates need the whole corpus, and arms with gates wait for it.

    Attributes:
        place: Index of the sample in the corpus, from 0.
    """

    corpus: LateCorpus
    place: int
    prompt_ids: list[int]
    accepted: bool = True

    @property
    def token_ids(self) -> list[int]:
        return self.corpus.tokens(self.place)


class LateCorpus(Sequence[LateSample]):
    """A sequence of all samples of a corpus, available before their token ids are.

    A sample is created for each of `prompts`, which are token ids.
    """

    def __init__(self, prompts: Sequence[list[int]]) -> None:
        self._samples = [LateSample(self, place, prompt) for place, prompt in enumerate(prompts)]
        self._tokens: dict[int, list[int]] = {}
        self._changed = Condition()

    def put(self, documents: Mapping[int, list[int]]) -> None:
        """Store `documents`, which map the index of a sample to its token ids. Stored ids are never replaced."""
        with self._changed:
            self._tokens = {**documents, **self._tokens}
            self._changed.notify_all()

    def tokens(self, place: int) -> list[int]:
        """Return the token ids of the sample at index `place`. Block until they are stored.

        Raises:
            RunError: The ids did not come within `LATE_SECONDS`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: place in self._tokens, LATE_SECONDS):
                raise RunError(f"training waited {LATE_SECONDS:.0f} s for sample {place}, which did not arrive")
            return self._tokens[place]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: Any) -> Any:
        return self._samples[place]

    def __iter__(self) -> Iterator[LateSample]:
        return iter(self._samples)
