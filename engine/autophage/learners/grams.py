"""An n-gram model without smoothing: counts, and the next-word distributions that they define.

    p(w | c) = count(c w) / count(c),   c the n - 1 words before, padded with the start word

An n-gram that was not counted has probability 0. A model fitted to its own output can therefore lose support and
never regain it. A word that is missed once is gone. This module knows ids, and neither words nor the source of
documents.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from autophage.learners.words import END, START, EncodedDocument
from autophage.metrics.scored import Statistics

BACKOFF = 0.01
"""Share of the uniform distribution in the probability of a held-out word.

Without it an unseen word would make perplexity infinite.
"""


def count_grams(documents: Iterable[EncodedDocument], order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct n-grams of `order` words, as ids `[K, order]` in ascending order, and their counts `[K]`.

    The end of a complete document counts as a word. K is 0 without documents.
    """
    counted = Counter(gram for document in documents for gram in _grams(document.token_ids, order))
    grams = sorted(counted)
    ids = np.array(grams, dtype=np.int32).reshape(-1, order)
    return ids, np.array([counted[gram] for gram in grams], dtype=np.int64)


class Grams:
    """An n-gram language model without smoothing, given by distinct n-grams `[K, order]` and their counts `[K]`.

    N-grams must be sorted, so that those of one context are adjacent. `statistics` has one value per n-gram, `[K]`.
    """

    def __init__(self, grams: np.ndarray, counts: np.ndarray) -> None:
        self.order = grams.shape[1]
        self._words = grams[:, -1].tolist()
        contexts = list(map(tuple, grams[:, :-1].tolist()))
        starts = [place for place, context in enumerate(contexts) if place == 0 or context != contexts[place - 1]]
        ends = [*starts[1:], len(contexts)]
        self._places = {
            (*context, word): place for place, (context, word) in enumerate(zip(contexts, self._words, strict=True))
        }
        self._spans = {contexts[start]: (start, end) for start, end in zip(starts, ends, strict=True)}
        self._cumulative = np.concatenate([[0], np.cumsum(counts)]).tolist()
        lengths = np.subtract(ends, starts)
        if not len(counts):
            starts, lengths = [], np.empty(0, dtype=np.int64)
        self.statistics = _statistics(counts, np.array(starts, dtype=np.int64), lengths)

    def draw(self, uniforms: np.ndarray, longest: int) -> list[EncodedDocument]:
        """Draw one document for each row of `uniforms` `[documents, longest + 1]`, random numbers in 0 to 1.

        Each number decides one word. A document is cut after `longest` words, or at a context that has no successor.
        """
        return [self._document(row, longest) for row in uniforms.tolist()]

    def score(self, token_ids: Sequence[int]) -> Statistics:
        """Return the statistics of each word of a document, such as its log-prob in nats.

        Raises:
            KeyError: A word has probability 0 under the model.
        """
        places = [self._places[gram] for gram in _grams(token_ids, self.order)]
        return Statistics(*(values[places] for values in vars(self.statistics).values()))

    def backed_off(self, token_ids: Sequence[int], vocabulary: int) -> np.ndarray:
        """Return the smoothed log-prob in nats of each of T words, known or not, `[T]`.

        The distribution is mixed with a share `BACKOFF` of the uniform one over `vocabulary` words. After an unknown
        context it is uniform.
        """
        uniform = 1.0 / vocabulary
        probabilities = []
        for gram in _grams(token_ids, self.order):
            place = self._places.get(gram)
            known = 0.0 if place is None else float(np.exp(self.statistics.logprob[place]))
            share = BACKOFF if gram[:-1] in self._spans else 1.0
            probabilities.append((1 - share) * known + share * uniform)
        logs: np.ndarray = np.log(np.array(probabilities, dtype=np.float64))
        return logs

    def _document(self, uniforms: Sequence[float], longest: int) -> EncodedDocument:
        context = (START,) * (self.order - 1)
        words: list[int] = []
        while (span := self._spans.get(context)) is not None:
            first, last = self._cumulative[span[0]], self._cumulative[span[1]]
            drawn = first + uniforms[len(words)] * (last - first)
            word = self._words[min(bisect_right(self._cumulative, drawn) - 1, span[1] - 1)]
            if word == END:
                return EncodedDocument((*words, END), True)
            if len(words) == longest:
                break
            words.append(word)
            context = (*context, word)[1:]
        return EncodedDocument(tuple(words), False)


def _grams(token_ids: Sequence[int], order: int) -> Iterable[tuple[int, ...]]:
    padded = [START] * (order - 1) + list(token_ids)
    return zip(*(padded[first : len(padded) - order + 1 + first] for first in range(order)), strict=True)


def _statistics(counts: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Statistics:
    """Return the statistics of each n-gram, in nats.

    They are log-prob and rank of its last word, and entropy, varentropy and maximum probability of its context.
    `starts` and `lengths` are the first index and the number of n-grams of each context in `counts`.
    """
    if not len(counts):
        return Statistics(*(np.empty(0) for _ in range(5)))
    context = np.repeat(np.arange(len(starts)), lengths)
    probability = counts / np.add.reduceat(counts, starts)[context]
    logprob = np.log(probability)
    entropy = -np.add.reduceat(probability * logprob, starts)[context]
    varentropy = np.add.reduceat(probability * (logprob + entropy) ** 2, starts)[context]
    largest = np.maximum.reduceat(probability, starts)[context]
    return Statistics(logprob, entropy, varentropy, largest, _ranks(counts, context, starts))


def _ranks(counts: np.ndarray, context: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the rank of each n-gram: 1 plus the number of strictly more frequent ones with the same context.

    `context` numbers the contexts. `starts` holds the index of each context's first n-gram.
    """
    order = np.lexsort((-counts, context))
    ordered, groups = counts[order], context[order]
    places = np.arange(len(counts))
    opens = np.concatenate([[True], (ordered[1:] != ordered[:-1]) | (groups[1:] != groups[:-1])])
    tied = np.maximum.accumulate(np.where(opens, places, 0))
    ranks = np.empty(len(counts), dtype=np.int64)
    ranks[order] = tied - starts[groups] + 1
    return ranks
