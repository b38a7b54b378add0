"""`attribution`: keeps a sample only if each of its sentences has a source among human passages.

Bidirectional RAG asks that every citation be in the retrieved set (arXiv 2512.22199); where nothing cites, a sentence is
attributed to the retrieved passage that has most of its words. Words, not meanings: `entailment` asks for the rest.
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
    kind: Literal["attribution"] = Field("attribution", description="which gate")
    overlap: Fraction = Field(0.8, description="least share of a sentence's different words that one passage has")
    passages: int = Field(5, ge=1, le=100, description="passages that are retrieved for a sentence")
    human: Positive = Field(2000, description="human documents that passages are looked for in")

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
