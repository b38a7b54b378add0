"""Rare tokens in the samples, by the buckets of human frequency (`human`).

- `tail/mass`: share of the samples' tokens that are of the human tail. It estimates the probability that the model gives
  to the tail. `.head`, `.torso` and `.unseen` (types that the human reference lacks) make up the rest. A finite sample
  and a truncated distribution both take from the tail (arXiv 2402.07043).
- `tail/mass_vs_human`: the tail's share over its share of human text; 1 is the human level.
- `tail/coverage`: share of the human tail's types that occur in the samples; `.head` and `.torso` likewise. It rises
  with the size of a corpus, so compare only corpora of one size.

Intervals are the bootstrap over samples for shares of tokens, the grouped jackknife for coverage. Samples without
tokens have mass 0 in every bucket with the interval (0, 1). A bucket without types has coverage 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autophage.metrics.human import BUCKETS, UNSEEN, HumanText
from autophage.metrics.intervals import clipped, group_count, jackknife_interval, ratio_bootstrap
from autophage.store.manifest import Metric

TAIL = BUCKETS.index("tail")
SUFFIXES = {TAIL: "", **{place: f".{name}" for place, name in enumerate(BUCKETS) if place != TAIL}, UNSEEN: ".unseen"}
"""Bucket of human token frequency -> suffix of its metrics. The tail gives the metric its name and has no suffix."""


def tail_metrics(token_ids: Sequence[Sequence[int]], human: HumanText, resamples: int, seed: int) -> list[Metric]:
    """Compute `tail/mass`, `tail/mass_vs_human` and `tail/coverage` for the buckets of human token frequency.

    Mass is the share of the samples' tokens that lie in a bucket. Coverage is the share of a bucket's token types that
    occur in the samples. Without samples the list is empty.
    """
    if not token_ids:
        return []
    return [*_mass(token_ids, human, resamples, seed), *_coverage(token_ids, human)]


def _mass(token_ids: Sequence[Sequence[int]], human: HumanText, resamples: int, seed: int) -> list[Metric]:
    found = np.array([np.bincount(human.bucket_of(ids), minlength=UNSEEN + 1) for ids in token_ids], dtype=np.float64)
    lengths = found.sum(axis=1)
    tokens = int(lengths.sum())
    metrics = []
    for bucket, suffix in SUFFIXES.items():
        share = float(found[:, bucket].sum() / tokens) if tokens else 0.0
        low, high = ratio_bootstrap(found[:, bucket], lengths, resamples, seed) if tokens else (0.0, 1.0)
        metrics.append(Metric(f"tail/mass{suffix}", share, low, high, tokens))
        if bucket == TAIL and (expected := human.share(TAIL)):
            metrics.append(Metric("tail/mass_vs_human", share / expected, low / expected, high / expected, tokens))
    return metrics


def _coverage(token_ids: Sequence[Sequence[int]], human: HumanText) -> list[Metric]:
    groups = group_count(len(token_ids))
    vocabulary = len(human.bucket)
    # seen[g, v] is True if type v occurs in group g of samples.
    seen = np.zeros((groups, vocabulary), dtype=bool)
    for index, ids in enumerate(token_ids):
        known = np.asarray(ids, dtype=np.int64)
        seen[index % groups, known[known < vocabulary]] = True
    in_groups = seen.sum(axis=0)
    metrics = []
    for bucket, suffix in list(SUFFIXES.items())[:-1]:
        types = human.bucket == bucket
        count = int(types.sum())
        found = int((in_groups[types] > 0).sum())
        value = found / count if count else 1.0
        # Leaving out a group loses the types that only that group has.
        lost = (seen[:, types] & (in_groups[types] == 1)).sum(axis=1)
        left_out = (found - lost) / count if count else np.ones(groups)
        low, high = clipped(jackknife_interval(value, left_out))
        metrics.append(Metric(f"tail/coverage{suffix}", value, low, high, count))
    return metrics
