"""Counts of human text from a fixed draw of the source.

Tail metrics, novelty and TF-IDF are measured against these counts. Buckets divide token types by their human
frequency. The most frequent types that make up half of all human tokens are the head. The types of the next four
tenths are the torso, those of the last tenth the tail. Types that the draw lacks are unseen. Equal counts are ordered
by token id, so the division is a function of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BUCKETS = ("head", "torso", "tail")
EDGES = (0.5, 0.9)
"""Shares of human tokens at which head and torso end."""
UNSEEN = len(BUCKETS)
NGRAM = 4
"""Words of an n-gram that counts as new or known: long enough for a statement, short enough to recur."""

NGrams = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class HumanText:
    """Counts of human text over a vocabulary of V token ids.

    `counts[v]` is the number of occurrences of token v. `documents[v]` is the number of documents, out of `size`, that
    contain it. `bucket[v]` is an index into `BUCKETS`, or `UNSEEN`. V is one more than the largest id. `ngrams` holds
    the word `NGRAM`-grams of the text.
    """

    counts: np.ndarray
    documents: np.ndarray
    bucket: np.ndarray
    ngrams: NGrams
    size: int

    def bucket_of(self, token_ids: Sequence[int]) -> np.ndarray:
        """Bucket of each token. Ids beyond the human vocabulary are unseen."""
        ids = np.asarray(token_ids, dtype=np.int64)
        known = ids < len(self.bucket)
        return np.where(known, self.bucket[np.where(known, ids, 0)], UNSEEN) if len(self.bucket) else ids * 0 + UNSEEN

    def share(self, bucket: int) -> float:
        """Share of human tokens in a bucket; 0 if there is no text."""
        total = self.counts.sum()
        return float(self.counts[self.bucket == bucket].sum() / total) if total else 0.0


def count_human(token_ids: Sequence[Sequence[int]], texts: Sequence[str]) -> HumanText:
    """Count documents that are given both as token ids and as text."""
    flat = np.array([token for document in token_ids for token in document], dtype=np.int64)
    counts = np.bincount(flat)
    present = np.array([token for document in token_ids for token in set(document)], dtype=np.int64)
    documents = np.bincount(present, minlength=len(counts))
    ngrams = frozenset(gram for text in texts for gram in word_ngrams(text.split(), NGRAM))
    return HumanText(counts, documents, buckets_of(counts), ngrams, len(token_ids))


def buckets_of(counts: np.ndarray) -> np.ndarray:
    """Bucket of each type by its count.

    The tokens of more frequent types, as a share of all, decide the bucket.
    """
    bucket = np.full(len(counts), UNSEEN)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    before = np.cumsum(counts[order]) - counts[order]
    bucket[order] = np.searchsorted(np.array(EDGES) * counts.sum(), before, side="right")
    return bucket


def word_ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(n)), strict=False))
