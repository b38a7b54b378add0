"""Variety, redundancy, repetition, novelty and junk in the samples' text. Words end at whitespace.

- `text/distinct_1` to `text/distinct_4`: different word n-grams / all word n-grams (Li et al. 2016, arXiv 1510.03055).
  They fall with the number of samples, so compare only corpora of one size. 0 if no text has n words.
- `text/compression`: bytes / gzip bytes of all samples together (Shaib et al. 2024, arXiv 2403.00553); higher is more
  redundant. 1 for an empty corpus.
- `text/duplicate`: share of samples whose text equals that of an earlier sample.
- `text/novelty`: share of the samples' word 4-grams that the human reference (`human`) lacks (McCoy et al. 2023, arXiv
  2111.09509). It is an upper bound, since the reference is a draw of human text.
- `text/junk`: share of samples that `is_junk` rejects: no letter of any script, or one token that makes up more than
  half of at least `LONG` tokens.

Intervals are Wilson's for shares of samples, the bootstrap over samples for novelty, the grouped jackknife for the
rest. Without 4-grams, novelty is 0 with the interval (0, 1).
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence

import numpy as np

from autophage.metrics.human import NGRAM, HumanText, word_ngrams
from autophage.metrics.intervals import (
    clipped,
    group_count,
    grouped_jackknife,
    jackknife_interval,
    ratio_bootstrap,
    wilson,
)
from autophage.store.manifest import Metric

ORDERS = (1, 2, 3, 4)
"""Lengths n, in words, of the n-grams of `text/distinct_n`."""
LONG = 8
"""Fewest tokens in a text in which repetition counts. In a shorter answer ("no, no") half is nothing unusual."""


def text_metrics(texts: Sequence[str]) -> list[Metric]:
    """Compute the duplicates, distinct n-grams and compression of the samples' texts.

    `n` counts samples. Without samples the list is empty.
    """
    if not texts:
        return []
    repeated = len(texts) - len(set(texts))
    metrics = [Metric("text/duplicate", repeated / len(texts), *wilson(repeated, len(texts)), len(texts))]
    for n, (value, interval) in zip(ORDERS, distinct(texts), strict=True):
        metrics.append(Metric(f"text/distinct_{n}", value, *clipped(interval), len(texts)))
    metrics.append(Metric("text/compression", compression(texts), *grouped_jackknife(texts, compression), len(texts)))
    return metrics


def distinct(texts: Sequence[str]) -> list[tuple[float, tuple[float, float]]]:
    """Return distinct-n of the texts with its 95% jackknife interval, for each n of `ORDERS`.

    Distinct-n is the number of different word n-grams over the number of all. The first n-1 words and the last word of
    an n-gram decide its number. The n-grams that only one group has are those lost when it is left out. No group is
    therefore recounted.
    """
    groups = group_count(len(texts))
    numbers: dict[str, int] = {}
    rows = [[numbers.setdefault(word, len(numbers)) for word in text.split()] for text in texts]
    words = np.array([word for row in rows for word in row], dtype=np.int64)
    text_of = np.repeat(np.arange(len(texts)), [len(row) for row in rows])
    codes = words
    found = []
    for n in ORDERS:
        starts = np.flatnonzero(text_of[: max(0, len(words) - n + 1)] == text_of[n - 1 :])
        if n > 1:
            pairs = codes[starts] * len(numbers) + words[starts + n - 1]
            codes = np.zeros(len(words), dtype=np.int64)
            codes[starts] = np.unique(pairs, return_inverse=True)[1]
        found.append(_distinct(codes[starts], text_of[starts] % groups, groups))
    return found


def _distinct(grams: np.ndarray, group_of: np.ndarray, groups: int) -> tuple[float, tuple[float, float]]:
    """Return the share of different n-grams among all n-grams, with its 95% jackknife interval.

    `grams` numbers each occurrence by its n-gram, without gaps. `group_of` is the jackknife group of each. Without
    n-grams the share is 0.
    """
    if not grams.size:
        return 0.0, jackknife_interval(0.0, np.zeros(groups))
    types = int(grams.max()) + 1
    first, last = np.full(types, groups), np.full(types, -1)
    np.minimum.at(first, grams, group_of)
    np.maximum.at(last, grams, group_of)
    lost = np.bincount(first[first == last], minlength=groups)
    remaining = grams.size - np.bincount(group_of, minlength=groups)
    left_out = (types - lost) / np.maximum(remaining, 1)
    value = types / grams.size
    return value, jackknife_interval(value, left_out)


def compression(texts: Sequence[str]) -> float:
    """Return the UTF-8 bytes of all texts, joined by line feeds, over their gzip bytes.

    Without any bytes the ratio is 1.
    """
    raw = "\n".join(texts).encode("utf-8", "replace")
    return len(raw) / len(gzip.compress(raw, mtime=0)) if raw else 1.0


def novelty_metrics(texts: Sequence[str], human: HumanText, resamples: int, seed: int) -> list[Metric]:
    """Compute `text/novelty`, the share of the samples' word 4-grams that the human text lacks.

    `n` counts the samples' 4-grams. Without samples the list is empty.
    """
    if not texts:
        return []
    grams = [word_ngrams(text.split(), NGRAM) for text in texts]
    totals = np.array([float(len(own)) for own in grams])
    new = np.array([float(sum(gram not in human.ngrams for gram in own)) for own in grams])
    if not totals.sum():
        return [Metric("text/novelty", 0.0, 0.0, 1.0, 0)]
    low, high = ratio_bootstrap(new, totals, resamples, seed)
    return [Metric("text/novelty", float(new.sum() / totals.sum()), low, high, int(totals.sum()))]


def junk_metrics(texts: Sequence[str], token_ids: Sequence[Sequence[int]]) -> list[Metric]:
    """Compute `text/junk`, the share of samples that `is_junk` rejects; empty without samples."""
    if not texts:
        return []
    junk = sum(is_junk(text, ids) for text, ids in zip(texts, token_ids, strict=True))
    return [Metric("text/junk", junk / len(texts), *wilson(junk, len(texts)), len(texts))]


def is_junk(text: str, token_ids: Sequence[int]) -> bool:
    """Return True for a text without a letter, or for a repetitive one.

    In a repetitive text, one token makes up more than half of at least `LONG` tokens.
    """
    if not any(character.isalpha() for character in text):
        return True
    return len(token_ids) >= LONG and 2 * max(Counter(token_ids).values()) > len(token_ids)
