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
"""Shares of human tokens at which head and torso end. Token types count from the most frequent one on."""
UNSEEN = len(BUCKETS)
NGRAM = 4
"""Length, in words, of an n-gram that counts as new or known. It is long enough for a statement, short enough to recur.
"""

NGrams = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class HumanText:
    """Token, document and n-gram counts of human text, over a vocabulary of V token ids.

    `counts[v]` is the number of occurrences of token v. `documents[v]` is the number of documents, out of `size`, that
    contain it. `bucket[v]` is its frequency bucket, an index into `BUCKETS` or `UNSEEN`. V is one more than the largest
    id. `ngrams` holds the word `NGRAM`-grams of the text.
    """

    counts: np.ndarray
    documents: np.ndarray
    bucket: np.ndarray
    ngrams: NGrams
    size: int

    def bucket_of(self, token_ids: Sequence[int]) -> np.ndarray:
        """Return the frequency bucket of each token id, an index into `BUCKETS` or `UNSEEN`.

        Ids beyond the human vocabulary are unseen.
        """
        ids = np.asarray(token_ids, dtype=np.int64)
        known = ids < len(self.bucket)
        return np.where(known, self.bucket[np.where(known, ids, 0)], UNSEEN) if len(self.bucket) else ids * 0 + UNSEEN

    def share(self, bucket: int) -> float:
        """Return the share of human tokens whose type is in a frequency bucket.

        Without text it is 0.
        """
        total = self.counts.sum()
        return float(self.counts[self.bucket == bucket].sum() / total) if total else 0.0


def count_human(token_ids: Sequence[Sequence[int]], texts: Sequence[str]) -> HumanText:
    """Count the tokens, documents and word n-grams of human documents.

    `token_ids` and `texts` hold the same documents.
    """
    flat = np.array([token for document in token_ids for token in document], dtype=np.int64)
    counts = np.bincount(flat)
    present = np.array([token for document in token_ids for token in set(document)], dtype=np.int64)
    documents = np.bincount(present, minlength=len(counts))
    ngrams = frozenset(gram for text in texts for gram in word_ngrams(text.split(), NGRAM))
    return HumanText(counts, documents, buckets_of(counts), ngrams, len(token_ids))


def buckets_of(counts: np.ndarray) -> np.ndarray:
    """Return the frequency bucket of each of V token types, given its count, [V].

    Types are ranked by falling count. The share of all tokens that belong to types of a higher rank decides the bucket.
    A type with count 0 is `UNSEEN`.
    """
    bucket = np.full(len(counts), UNSEEN)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    before = np.cumsum(counts[order]) - counts[order]
    bucket[order] = np.searchsorted(np.array(EDGES) * counts.sum(), before, side="right")
    return bucket


def word_ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Return all runs of `n` consecutive words; empty for fewer than `n` words."""
    return list(zip(*(words[start:] for start in range(n)), strict=False))
