"""Zero-shot detection of machine-written text. The detector is model 0, for every generation.

Token t has log-prob lp_t, entropy H_t and varentropy V_t under the detector.

- `detect/fast_detectgpt`: conditional probability curvature sum(lp_t + H_t) / sqrt(sum V_t), in standard deviations
  (Fast-DetectGPT, arXiv 2310.05130, closed form, the detector as its own reference). It is near 0 for samples of model 0
  at temperature 1. It rises as text grows typical and falls as text grows strange.
- `detect/log_rank_ratio`: LRR = sum |lp_t| / sum log rank_t (DetectLLM, arXiv 2306.05540), natural logarithms.

Both are means over the samples that have tokens. Without such samples there are no rows. Intervals are bootstrapped
over samples. If the detector is certain of every token, the variance is 0 and the curvature counts as 0. If every
token has rank 1, the sum of log-ranks counts as log 2, its least value otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autophage.metrics.intervals import ratio_bootstrap
from autophage.metrics.scored import Scored, Statistics, log_probs
from autophage.store.manifest import Metric


def detection_metrics(scored: Sequence[Scored], resamples: int, seed: int) -> list[Metric]:
    """Compute `detect/fast_detectgpt` and `detect/log_rank_ratio` as means over the samples that have tokens.

    `scored` holds the token statistics of each sample under the detector. `n` counts samples. Without tokens the list
    is empty.
    """
    texts = [one for one in scored if len(one.logprob)]
    metrics = []
    for name, statistic in (
        ("detect/fast_detectgpt", curvature),
        ("detect/log_rank_ratio", log_rank_ratio),
    ):
        values = np.array([statistic(one) for one in texts])
        if values.size:
            low, high = ratio_bootstrap(values, np.ones(values.size), resamples, seed)
            metrics.append(Metric(name, float(values.mean()), low, high, values.size))
    return metrics


def curvature(scored: Statistics) -> float:
    """Return the conditional probability curvature of one text under the detector, in standard deviations.

    It is sum(log-prob + entropy) / sqrt(sum of varentropies). Zero variance gives 0.
    """
    variance = float(scored.varentropy.sum(dtype=np.float64))
    if variance <= 0:
        return 0.0
    return float((log_probs(scored) + scored.entropy).sum()) / math.sqrt(variance)


def log_rank_ratio(scored: Scored) -> float:
    """Return the sum of a text's surprisals over the sum of its log ranks (LRR), in natural logarithms.

    The divisor is at least log 2.
    """
    ranks = float(np.log(scored.rank.astype(np.float64)).sum())
    return float(-log_probs(scored).sum()) / max(ranks, math.log(2))
