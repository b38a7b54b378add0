"""`quality`: keeps text that a classifier calls good (the filter of Textbooks Are All You Need, arXiv 2306.11644).

The default classifier is fitted on the spot. It is a logistic regression on hashed word n-grams that separates human
documents from samples. It is fitted in two halves, and each half is judged by the classifier of the other. A model
replaces it by a given classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from autophage.gates.by_model import ByClassifier, ruled
from autophage.gates.protocol import Context, Verdict, abstain, accept, reject
from autophage.gates.retrieval import words_of
from autophage.recipe.tables.table import PathText, Positive
from autophage.seeds import derive
from autophage.store.corpus import Sample

FEATURES = 1 << 18
HALVES = 2


class Quality(ByClassifier):
    """Gate `quality` with its settings. It keeps samples that a classifier calls good text."""

    kind: Literal["quality"] = Field("quality", description="name of the gate")
    threshold: float = Field(
        0.5, description="minimum quality: a probability, or the output of a model with a single one"
    )
    human: Positive = Field(2000, description="human documents that the classifier separates the samples from")
    words: int = Field(2, ge=1, le=5, description="words of the longest n-gram")
    model: PathText | None = Field(
        None, description="folder or hub id of a sequence classifier; replaces the fitted one"
    )
    label: str | None = Field(
        None,
        min_length=1,
        description="with a model: its label for good text; leave it out for a model with a single output",
    )

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        readable = [sample for sample in samples if words_of(sample.text)]
        values = self._by_words(readable, context) if self.model is None else self._by_model(readable, context)

        def ruling(quality: float) -> Verdict:
            return accept() if quality >= self.threshold else reject("low quality")

        return ruled(samples, readable, values, ruling, abstain("no words"))

    def _by_words(self, samples: Sequence[Sample], context: Context) -> list[float]:
        """Return the probability that each sample is human, under a classifier of word n-grams fitted without it.

        It is 0.5 if that classifier had no sample or no human document to learn from.
        """
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.linear_model import LogisticRegression

        if not samples:
            return []
        human = context.human(self.human)
        vectorizer = HashingVectorizer(n_features=FEATURES, ngram_range=(1, self.words), alternate_sign=False)
        features = vectorizer.transform([*(sample.text for sample in samples), *human])
        is_human = np.arange(features.shape[0]) >= len(samples)
        half = np.random.default_rng(derive(context.seed, "halves")).permutation(features.shape[0]) % HALVES
        found = np.full(len(samples), 0.5)
        for number in range(HALVES):
            learnt, judged = half != number, np.flatnonzero((half == number) & ~is_human)
            if len(judged) and len(set(is_human[learnt])) == 2:
                fitted = LogisticRegression(class_weight="balanced", max_iter=1000)
                fitted.fit(features[learnt], is_human[learnt])
                found[judged] = fitted.predict_proba(features[judged])[:, 1]
        return [float(value) for value in found]

    def _by_model(self, samples: Sequence[Sample], context: Context) -> list[float]:
        return self.judged_values(samples, context, "quality")
