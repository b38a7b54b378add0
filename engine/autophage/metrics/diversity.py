"""Pairwise diversity of samples.

The cost is quadratic, so the metrics use a seeded draw of `measure.pairwise` samples.

- `text/self_bleu`: mean BLEU-4 of each sample with all others as references, 0 to 1; higher is more alike
  (Zhu et al. 2018, arXiv 1802.01886). It is sacrebleu's sentence BLEU (effective order, exponential smoothing) on
  whitespace-separated words.
- `text/vendi`: exp(-sum_i l_i log l_i) with the eigenvalues l of K / n (Friedman & Dieng 2023, arXiv 2210.02410). It
  is the effective number of different samples, from 1 to n. K is the cosine similarity of counts of words and word
  bigrams. The text's ends belong to the bigrams, so an empty text resembles itself.
- `text/embedding_diversity`: mean cosine distance of all pairs, each sample embedded as TF-IDF of its tokens: count
  times 1 + ln((1 + D) / (1 + D_v)). D_v of the D human reference documents contain token v. No embedding model is
  needed. Tokens that every human document has, such as templates and function words, hardly count.

Intervals are the bootstrap over samples for self-BLEU, with a sample's references held fixed. The other two use the
grouped jackknife. A draw of fewer than two samples has no interval. A single sample has self-BLEU 0, Vendi 1 and
distance 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise

import numpy as np

from autophage.metrics.human import HumanText
from autophage.metrics.intervals import clipped, group_count, jackknife_interval, ratio_bootstrap
from autophage.store.manifest import Metric

BORDER = ""
"""Marker before the first and after the last word of a text. It is empty, and no word is."""


def diversity_metrics(
    texts: Sequence[str], token_ids: Sequence[Sequence[int]], human: HumanText, pairs_of: int, resamples: int, seed: int
) -> list[Metric]:
    """Compute `text/self_bleu`, `text/vendi` and `text/embedding_diversity` on a seeded draw of the samples.

    The draw holds `pairs_of` samples, or all if there are fewer. `n` is the size of the draw. `token_ids` and `texts`
    hold the same samples. Without samples the list is empty.
    """
    if not texts:
        return []
    size = min(pairs_of, len(texts))
    drawn = np.sort(np.random.default_rng(seed).choice(len(texts), size=size, replace=False))
    chosen = [texts[index] for index in drawn]
    bleu = self_bleu(chosen)
    kernel = cosine(counts([Counter([*text.split(), *word_bigrams(text)]) for text in chosen]))
    tokens = cosine(tf_idf([token_ids[index] for index in drawn], human))
    return [
        Metric("text/self_bleu", float(bleu.mean()), *ratio_bootstrap(bleu, np.ones(size), resamples, seed), size),
        _jackknifed("text/vendi", kernel, vendi, (1.0, float(size))),
        _jackknifed("text/embedding_diversity", tokens, mean_distance, (0.0, 1.0)),
    ]


def self_bleu(texts: Sequence[str]) -> np.ndarray:
    """Return the BLEU-4 (0 to 1) of each text with all other texts as references.

    A single text has BLEU 0.
    """
    from sacrebleu.metrics.bleu import BLEU  # slow to import; a finished run does not need it

    if len(texts) < 2:
        return np.zeros(len(texts))
    bleu = BLEU(tokenize="none", effective_order=True)
    others = [[*texts[:index], *texts[index + 1 :]] for index in range(len(texts))]
    return np.array([bleu.sentence_score(text, rest).score / 100 for text, rest in zip(texts, others, strict=True)])


def vendi(kernel_NN: np.ndarray) -> float:
    """Return the Vendi score of a similarity matrix [N, N] with unit diagonal.

    The score is exp of the von Neumann entropy of K / N. It is the effective number of different samples, from 1 to N.
    """
    values = np.linalg.eigvalsh(kernel_NN / len(kernel_NN))
    kept = values[values > 0]  # rounding leaves some of the zeros slightly below zero
    return float(np.exp(-(kept * np.log(kept)).sum()))


def mean_distance(kernel_NN: np.ndarray) -> float:
    """Return the mean of 1 - similarity over all pairs of different samples; 0 for a single sample.

    `kernel_NN` holds the similarities of N samples, [N, N].
    """
    n = len(kernel_NN)
    return float(1 - (kernel_NN.sum() - np.trace(kernel_NN)) / (n * (n - 1))) if n > 1 else 0.0


def word_bigrams(text: str) -> list[tuple[str, str]]:
    """Return the pairs of neighbouring words of a text, with `BORDER` as its first and last word."""
    return list(pairwise([BORDER, *text.split(), BORDER]))


def counts(bags: Sequence[Counter[Hashable]]) -> np.ndarray:
    """Return a matrix [N, U]: the count of each of U things in each of N bags.

    U is the number of different things in all bags.
    """
    numbers: dict[Hashable, int] = {}
    places = [[numbers.setdefault(thing, len(numbers)) for thing in bag] for bag in bags]
    rows_NU = np.zeros((len(bags), len(numbers)))
    for row, place, bag in zip(rows_NU, places, bags, strict=True):
        row[place] = list(bag.values())
    return rows_NU


def tf_idf(token_ids: Sequence[Sequence[int]], human: HumanText) -> np.ndarray:
    """Return the TF-IDF weights [N, U] of N samples over the U token ids that occur in them.

    A weight is the count of a token times 1 + ln((1 + D) / (1 + D_v)). Of the D human documents, D_v contain token v.
    """
    used = np.unique(np.array([token for ids in token_ids for token in ids], dtype=np.int64))
    known = used < len(human.documents)
    documents = np.where(known, human.documents[np.where(known, used, 0)], 0) if len(human.documents) else used * 0
    weights = 1 + np.log((1 + human.size) / (1 + documents))
    rows = [np.bincount(np.searchsorted(used, ids), minlength=len(used)) for ids in token_ids]
    weighted_NU: np.ndarray = np.stack(rows) * weights
    return weighted_NU


def cosine(rows_NU: np.ndarray) -> np.ndarray:
    """Return the cosine similarities [N, N] of the rows of a non-negative matrix [N, U].

    A row of zeros has similarity 1 with other rows of zeros and 0 with all other rows.
    """
    lengths = np.linalg.norm(rows_NU, axis=1)
    empty = lengths == 0
    unit_NU = rows_NU / np.where(empty, 1.0, lengths)[:, None]
    similar_NN: np.ndarray = np.clip(unit_NU @ unit_NU.T, 0.0, 1.0) + np.outer(empty, empty)
    return similar_NN


def _jackknifed(
    name: str, kernel_NN: np.ndarray, statistic: Callable[[np.ndarray], float], bounds: tuple[float, float]
) -> Metric:
    n = len(kernel_NN)
    groups = group_count(n)
    kept = [np.arange(n) % groups != group for group in range(groups)] if groups > 1 else []
    interval = jackknife_interval(statistic(kernel_NN), [statistic(kernel_NN[np.ix_(k, k)]) for k in kept])
    return Metric(name, statistic(kernel_NN), *clipped(interval, *bounds), n)
