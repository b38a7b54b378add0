"""What human text is like, counted once from a fixed draw of the source: the yardstick of tails, novelty and TF-IDF.

Buckets divide token types by how often humans use them: the most frequent types that make up the first half of human
tokens are the head, those of the next four tenths the torso, those of the last tenth the tail. Types that the draw does
not have are unseen. Equal counts are ordered by token id, so the division is a function of the text.
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
"""Words of an n-gram that counts as new or known: long enough to carry a statement, short enough to recur."""

NGrams = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class HumanText:
    """`counts[v]` is how often token v occurs, `documents[v]` in how many of `size` documents, `bucket[v]` an index into
    `BUCKETS` or `UNSEEN`, each [V] with V one more than the largest id; `ngrams` are its word `NGRAM`-grams."""

    counts: np.ndarray
    documents: np.ndarray
    bucket: np.ndarray
    ngrams: NGrams
    size: int

    def bucket_of(self, token_ids: Sequence[int]) -> np.ndarray:
        """Bucket of each token; ids beyond the human vocabulary are unseen."""
        ids = np.asarray(token_ids, dtype=np.int64)
        known = ids < len(self.bucket)
        return np.where(known, self.bucket[np.where(known, ids, 0)], UNSEEN) if len(self.bucket) else ids * 0 + UNSEEN

    def share(self, bucket: int) -> float:
        """Share of human tokens in a bucket; 0 of no text."""
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
    """Bucket of every type by its count: a type belongs where the share of tokens of more frequent types ends."""
    bucket = np.full(len(counts), UNSEEN)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    before = np.cumsum(counts[order]) - counts[order]
    bucket[order] = np.searchsorted(np.array(EDGES) * counts.sum(), before, side="right")
    return bucket


def word_ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(n)), strict=False))
