"""Documents of a corpus that is still being written, sent to a training that began early.

A training begins early where its arm is alone and its samples come in several waves (`scheduler`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autophage.cluster.cell_actors import CellActors
from autophage.cluster.scheduler import Side, Stage, Work
from autophage.recipe.arms import Arm
from autophage.sampler.protocol import Completion

Documents = dict[int, list[int]]
"""Token ids by place in the corpus."""


class EarlyDocuments:
    """Pass finished documents of a corpus to the training that began before the corpus was complete."""

    def __init__(self, actors: CellActors, arms: Mapping[str, Arm]) -> None:
        self._actors, self._arms = actors, arms
        self._unfed: dict[str, Documents] = {}
        """Documents that the trainer may not have yet, by corpus (`Work.key`)."""

    def begin(self, training: Work) -> None:
        """Start passing on the corpus that this training reads."""
        self._unfed[training.previous.key] = {}

    def end(self, corpus: Work) -> None:
        """Stop passing on this corpus."""
        self._unfed.pop(corpus.key, None)

    def relay(self, running: Work) -> None:
        """Pass new documents of a corpus to the training that waits for them.

        `running` is the corpus's sampling, or that training. Nothing happens where no training waits.
        """
        if running.stage not in (Stage.SAMPLE, Stage.TRAIN):
            return
        corpus = running if running.stage is Stage.SAMPLE else running.previous
        if corpus.key not in self._unfed:
            return
        if running.stage is Stage.SAMPLE:
            written = self._actors.get(self._actors.sampler.written(corpus.key), Side.SAMPLER)
            self._unfed[corpus.key] = self._documents(corpus, written)
        self._feed(corpus)

    def complete(self, corpus: Work, completions: Sequence[Completion]) -> None:
        """Pass all documents of a finished corpus to the training that waits for them, if one does."""
        if corpus.key in self._unfed:
            written = {place: completion.token_ids for place, completion in enumerate(completions)}
            self._unfed[corpus.key] = self._documents(corpus, written)
            self._feed(corpus)

    def _documents(self, corpus: Work, written: Mapping[int, list[int]]) -> Documents:
        """Return the token ids of the corpus's documents by place, without answers to questions.

        The answers follow the documents in the same batch.
        """
        count = self._arms[corpus.arm].recipe.sample.written
        return {place: token_ids for place, token_ids in written.items() if place < count}

    def _feed(self, corpus: Work) -> None:
        unfed = self._unfed[corpus.key]
        if unfed:
            taken = self._actors.get(self._actors.trainer.feed(unfed), Side.TRAINER)
            if taken:
                self._unfed[corpus.key] = {}
