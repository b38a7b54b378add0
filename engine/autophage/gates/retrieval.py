"""Retrieval of human passages by Okapi BM25 over words (Robertson and Zaragoza 2009), and sentence splitting.

    score(q, d) = sum over words w of q of idf(w) f (k1 + 1) / (f + k1 (1 - b + b |d| / mean |d|))
    idf(w) = ln(1 + (N - n + 0.5) / (n + 0.5))

f is the frequency of w in d, and n is the number of passages with w.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

K1, B = 1.5, 0.75
"""Usual constants of BM25: saturation of a word's frequency, and influence of a passage's length."""
WORD = re.compile(r"\w+")
SENTENCE = re.compile(r"(?<=[.!?])\s+")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, in order and with repetitions."""
    return WORD.findall(text.lower())


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text in order, without those that contain no word.

    A sentence ends at white space after a full stop, question mark or exclamation mark.
    """
    return [one.strip() for one in SENTENCE.split(text) if WORD.search(one)]


class PassageIndex:
    """A BM25 index that finds the human passages most similar to a text."""

    def __init__(self, passages: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self.texts = list(passages)
        self.words = [frozenset(words_of(text)) for text in self.texts]
        self._vectorizer: Any = CountVectorizer(analyzer=words_of)
        counts = self._vectorizer.fit_transform(self.texts).tocsr().astype(np.float64)
        lengths = np.asarray(counts.sum(1)).ravel()
        holders = np.bincount(counts.indices, minlength=counts.shape[1])
        idf = np.log1p((len(self.texts) - holders + 0.5) / (holders + 0.5))
        row = np.repeat(np.arange(len(self.texts)), np.diff(counts.indptr))
        saturation = K1 * (1 - B + B * lengths[row] / lengths.mean())
        counts.data = idf[counts.indices] * counts.data * (K1 + 1) / (counts.data + saturation)
        self._weights = counts

    def retrieve(self, texts: Sequence[str], count: int) -> list[list[int]]:
        """Return the indices in `self.texts` of the `count` best passages for each of `texts`, best first.

        A passage that shares no word with the text is left out, so a list may be shorter or empty.
        """
        asked = self._vectorizer.transform(texts)
        found = []
        for row in range(asked.shape[0]):
            scores = np.asarray((self._weights @ asked[row].T).todense()).ravel()
            best = np.argsort(-scores, kind="stable")[:count]
            found.append([int(place) for place in best if scores[place] > 0])
        return found
