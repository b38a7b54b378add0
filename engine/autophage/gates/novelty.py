"""`novelty`: rejects near duplicates of human text or of samples that were accepted before.

The default is MinHash over word n-grams (Broder 1997; `datasketch`). Distance is then 1 - estimated Jaccard
similarity. With a model, distance is 1 - cosine of the mean of its last hidden states, as for sentence encoders.
Bidirectional RAG requires a distance above 0.10 (arXiv 2512.22199).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from autophage.gates.by_model import ByModel
from autophage.gates.protocol import Context, Verdict, abstain, accept, reject
from autophage.gates.retrieval import words_of
from autophage.recipe.tables.table import PathText
from autophage.store.corpus import Sample

if TYPE_CHECKING:
    from autophage.gates.embedding import Encoder

HUMAN, OWN = "near human text", "near another sample"


class Novelty(ByModel):
    """Gate `novelty` with its settings. It rejects near duplicates of human text and of accepted samples."""

    kind: Literal["novelty"] = Field("novelty", description="name of the gate")
    distance: float = Field(
        0.1,
        ge=0.0,
        lt=1.0,
        description="minimum distance of a sample from human text and from accepted samples; an equal distance is rejected",
    )
    human: int = Field(
        2000, ge=0, description="human documents to compare with; 0 compares samples only with one another"
    )
    shingle: int = Field(3, ge=1, le=20, description="words per n-gram")
    permutations: int = Field(
        128,
        ge=16,
        le=1024,
        description="MinHash functions per document; the error of the distance is about 1 / sqrt(permutations)",
    )
    model: PathText | None = Field(
        None, description="folder or hub id of a text encoder; compares meanings instead of words"
    )

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        return self._by_words(samples, context) if self.model is None else self._by_meaning(samples, context)

    def _by_words(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        settings = (self.shingle, self.permutations)
        human = context.once(
            ("minhash", self.human, *settings), lambda: [_hashed(text, *settings) for text in context.human(self.human)]
        )
        known, seen = _index(self.distance, self.permutations), _index(self.distance, self.permutations)
        signatures: dict[str, Any] = {}
        for number, one in enumerate(filter(None, human)):
            signatures[f"human-{number}"] = one
            known.insert(f"human-{number}", one)

        def is_near(index: Any, own: Any) -> bool:
            return any(1.0 - own.jaccard(signatures[name]) <= self.distance for name in index.query(own))

        verdicts = []
        for sample in samples:
            own = _hashed(sample.text, *settings)
            if own is None:
                verdicts.append(abstain("no words"))
            elif is_near(known, own):
                verdicts.append(reject(HUMAN))
            elif is_near(seen, own):
                verdicts.append(reject(OWN))
            else:
                signatures[sample.sample_id] = own
                seen.insert(sample.sample_id, own)
                verdicts.append(accept())
        return verdicts

    def _by_meaning(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        from autophage.gates.embedding import Encoder

        path = self.model or ""
        encoder: Encoder = context.once(("encoder", path), lambda: Encoder(path))
        human_ND = context.once(("encoded", path, self.human), lambda: encoder.encode(context.human(self.human)))
        own_ND = encoder.encode([sample.text for sample in samples])
        accepted = np.zeros(len(samples), dtype=bool)
        verdicts = []
        for place, sample in enumerate(samples):
            if not words_of(sample.text):
                verdicts.append(abstain("no words"))
            elif self._is_near(human_ND, own_ND[place]):
                verdicts.append(reject(HUMAN))
            elif self._is_near(own_ND[accepted], own_ND[place]):
                verdicts.append(reject(OWN))
            else:
                accepted[place] = True
                verdicts.append(accept())
        return verdicts

    def _is_near(self, others_ND: np.ndarray, own_D: np.ndarray) -> bool:
        return bool(len(others_ND)) and 1.0 - float((others_ND @ own_D).max()) <= self.distance


def _hashed(text: str, shingle: int, permutations: int) -> Any:
    """Return the MinHash of a text's n-grams of `shingle` words, or None for a text without words.

    A text with fewer words than an n-gram is hashed as a whole.
    """
    from datasketch import MinHash

    words = words_of(text)
    if not words:
        return None
    width = min(shingle, len(words))
    found = MinHash(num_perm=permutations, seed=1)
    found.update_batch([" ".join(words[start : start + width]).encode() for start in range(len(words) - width + 1)])
    return found


def _index(distance: float, permutations: int) -> Any:
    """Return an empty index that finds candidates within a Jaccard `distance` of a MinHash.

    It prefers false candidates to missed ones, because every candidate's distance is estimated anew.
    """
    from datasketch import MinHashLSH

    return MinHashLSH(threshold=max(0.05, 0.9 * (1.0 - distance)), num_perm=permutations, weights=(0.1, 0.9))
