"""`attribution`: keeps a sample only if every sentence has a source among human passages.

Bidirectional RAG requires every citation to be in the retrieved set (arXiv 2512.22199). Samples here cite nothing. A
sentence is therefore attributed to the retrieved passage that shares most of its words. Words are compared, not
meanings. The gate `entailment` compares meanings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from autophage.gates.protocol import Context, Gate, Verdict, abstain, accept, reject
from autophage.gates.retrieval import PassageIndex, sentences_of, words_of
from autophage.recipe.tables.table import Fraction, Positive
from autophage.store.corpus import Sample


class Attribution(Gate):
    """Gate `attribution` with its settings. It rejects samples with a sentence that no human passage covers."""

    kind: Literal["attribution"] = Field("attribution", description="name of the gate")
    overlap: Fraction = Field(
        0.8, description="minimum share of a sentence's distinct words that one passage must contain"
    )
    passages: int = Field(5, ge=1, le=100, description="passages retrieved per sentence")
    human: Positive = Field(2000, description="human documents to retrieve passages from")

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        index = context.once(("passages", self.human), lambda: PassageIndex(context.human(self.human)))
        sentences = [sentences_of(sample.text) for sample in samples]
        different = list(dict.fromkeys(one for own in sentences for one in own))
        found = index.retrieve(different, self.passages) if different else []
        sourced = {one: self._has_source(one, places, index) for one, places in zip(different, found, strict=True)}
        verdicts = []
        for own in sentences:
            if not own:
                verdicts.append(abstain("nothing stated"))
            else:
                verdicts.append(accept() if all(sourced[one] for one in own) else reject("no source"))
        return verdicts

    def _has_source(self, sentence: str, places: Sequence[int], index: PassageIndex) -> bool:
        words = set(words_of(sentence))
        return any(len(words & index.words[place]) >= self.overlap * len(words) for place in places)
