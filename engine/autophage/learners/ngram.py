"""The discrete distribution of arXiv 2305.17493 as an n-gram model. An n-gram that is not drawn once never returns.

A document holds a rare n-gram with probability q. M documents miss it with probability (1 - q)^M, and without
smoothing it stays missing. Each support is therefore an absorbing state of its supersets, down to a single document.
The model writes texts, so the text metrics of language models apply (`metrics`). Perplexity of held-out human text
is measured with `BACKOFF` parts uniform. Metrics of its own:

- `learner/support`: number of distinct n-grams in its support.
- `learner/types`: number of distinct words.
- `learner/survival`: share of model 0's n-grams that remain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autophage.learners.grams import Grams, count_grams
from autophage.learners.protocol import Parameters
from autophage.learners.words import SPECIAL, START, EncodedDocument, longest, words_of
from autophage.metrics.corpus import corpus_metrics
from autophage.metrics.fluency import onpolicy_metrics, perplexity_metrics
from autophage.metrics.human import HumanText, count_human
from autophage.metrics.scored import Statistics
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.store.corpus import Sample, read_samples
from autophage.store.manifest import Metric


class NGram:
    """Learner `ngram`: an n-gram language model without smoothing, fitted to documents of the model before."""

    device = "cpu"

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._order = recipe.learner.order
        self._words = words_of(recipe)
        self.digest = self._words.digest

    @property
    def config(self) -> dict[str, Any]:
        return {"kind": "ngram", "order": self._order, "vocabulary": self._words.vocabulary}

    def human(self, draw: int, count: int) -> list[EncodedDocument]:
        return self._words.documents(draw, count)

    def fit(self, rows: Sequence[EncodedDocument], seed: int, previous: Parameters | None, meter: Meter) -> Parameters:
        """Return the K distinct n-grams of the documents: ids `grams` int32 `[K, order]` and `counts` int64 `[K]`.

        `seed` and `previous` are unused.
        """
        grams, counts = count_grams(rows, self._order)
        return {"grams": grams, "counts": counts}

    def draw(self, state: Parameters, count: int, seed: int) -> list[EncodedDocument]:
        length = longest(self._recipe)
        return _model(state).draw(np.random.default_rng(seed).random((count, length + 1)), length)

    def measure(
        self, generation: int, state: Parameters, base: Parameters, rows: Sequence[EncodedDocument], seed: int
    ) -> list[Metric]:
        model, settings = _model(state), self._recipe.measure
        held_out = self._words.held_out(settings.documents)
        scored = [_only_logprob(model.backed_off(one.token_ids[1:], self._choices)) for one in held_out]
        texts = [self._words.text(one.words) for one in rows]
        own = [model.score(one.token_ids) for one in rows]
        return [
            *self._support(state, base),
            *perplexity_metrics(held_out, scored, settings.resamples, seed),
            *onpolicy_metrics(own, settings.resamples, seed),
            *corpus_metrics(texts, [one.words for one in rows], self._human_text, settings, seed),
        ]

    def _support(self, state: Parameters, base: Parameters) -> list[Metric]:
        grams, first = ({tuple(gram) for gram in one["grams"].tolist()} for one in (state, base))
        types = {word for gram in grams for word in gram} - set(range(len(SPECIAL)))
        return [
            Metric("learner/support", float(len(grams))),
            Metric("learner/types", float(len(types))),
            Metric("learner/survival", len(grams & first) / len(first), n=len(first)),
        ]

    def pack(
        self, state: Parameters, rows: Sequence[EncodedDocument], sample_ids: list[str], seed: int
    ) -> list[Sample]:
        model = _model(state)
        return [
            Sample(
                sample_id=own,
                prompt="",
                text=self._words.text(row.words),
                prompt_ids=[START],
                token_ids=list(row.token_ids),
                finish_reason="stop" if row.complete else "length",
                seed=seed,
                **vars(model.score(row.token_ids)),
            )
            for own, row in zip(sample_ids, rows, strict=True)
        ]

    def unpack(self, shards: Sequence[Path]) -> list[EncodedDocument]:
        return [EncodedDocument(tuple(sample.token_ids), sample.complete) for sample in read_samples(shards)]

    @property
    def _choices(self) -> int:
        """Number of possible next words: the vocabulary without the start word, plus one unknown word."""
        return len(self._words.vocabulary)

    @cached_property
    def _human_text(self) -> HumanText:
        documents = self._words.reference(self._recipe.measure.reference)
        return count_human([one.words for one in documents], [self._words.text(one.words) for one in documents])


def _model(state: Parameters) -> Grams:
    return Grams(state["grams"], state["counts"])


def _only_logprob(logprob: np.ndarray) -> Statistics:
    """Return token statistics with log-probs, and NaN in all other fields. Perplexity needs no other."""
    nothing = np.full(len(logprob), math.nan)
    return Statistics(logprob, nothing, nothing, nothing, nothing)
