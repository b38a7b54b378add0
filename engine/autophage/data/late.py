"""Samples that are still being written: a corpus whose documents come while its reader is at work.

The writer's thread `put`s token ids as they are finished, in any order; who reads a sample's tokens waits until they are
there. Knows neither who writes nor who reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Any

from autophage.errors import RunError

LATE_SECONDS = 3600.0
"""Longest wait for one document, of which the largest models on a busy device write hundreds in that time."""


@dataclass(frozen=True)
class LateSample:
    """What training needs of a sample. No gate judges it: gates need the whole corpus, and arms that have any wait for it."""

    corpus: LateCorpus
    place: int
    prompt_ids: list[int]
    accepted: bool = True

    @property
    def token_ids(self) -> list[int]:
        return self.corpus.tokens(self.place)


class LateCorpus(Sequence[LateSample]):
    def __init__(self, prompts: Sequence[list[int]]) -> None:
        self._samples = [LateSample(self, place, prompt) for place, prompt in enumerate(prompts)]
        self._tokens: dict[int, list[int]] = {}
        self._changed = Condition()

    def put(self, documents: Mapping[int, list[int]]) -> None:
        """The token ids of further samples, by their places; one that is there already stays as it is."""
        with self._changed:
            self._tokens = {**documents, **self._tokens}
            self._changed.notify_all()

    def tokens(self, place: int) -> list[int]:
        """Token ids of a sample, as soon as they are there.

        Raises:
            RunError: nobody wrote it for `LATE_SECONDS`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: place in self._tokens, LATE_SECONDS):
                raise RunError(f"sample {place} was not written within {LATE_SECONDS:.0f} s; training waited for it")
            return self._tokens[place]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: Any) -> Any:
        return self._samples[place]

    def __iter__(self) -> Iterator[LateSample]:
        return iter(self._samples)
