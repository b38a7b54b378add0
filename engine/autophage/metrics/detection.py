"""How machine-written a text looks to a zero-shot detector. The detector is model 0, the same for every generation.

With the log-prob lp_t, entropy H_t and varentropy V_t of token t under the detector:

- `detect/fast_detectgpt`: conditional probability curvature sum(lp_t + H_t) / sqrt(sum V_t) (Fast-DetectGPT, arXiv
  2310.05130, in closed form, the detector being its own reference model): standard deviations by which the text
  is likelier than one that the detector would sample. Near 0 for model 0's own samples at temperature 1; it rises as
  text grows typical and falls as it grows strange.
- `detect/log_rank_ratio`: LRR = sum |lp_t| / sum log rank_t (DetectLLM, arXiv 2306.05540), natural logarithms.

Both are computed per sample and averaged over samples that have tokens (none: no rows); intervals are bootstrapped over
samples. A detector that is certain of everything has no variance: its curvature is 0, as nothing departs from it. Where
every token has rank 1 the sum of log-ranks counts as log 2, the least it can be otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autophage.metrics.intervals import ratio_bootstrap
from autophage.metrics.scored import Scored, Statistics, log_probs
from autophage.store.manifest import Metric


def detection_metrics(scored: Sequence[Scored], resamples: int, seed: int) -> list[Metric]:
    """`scored` holds the samples' tokens under the detector; `n` counts samples."""
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
    """Conditional probability curvature of one text, in standard deviations."""
    variance = float(scored.varentropy.sum(dtype=np.float64))
    if variance <= 0:
        return 0.0
    return float((log_probs(scored) + scored.entropy).sum()) / math.sqrt(variance)


def log_rank_ratio(scored: Scored) -> float:
    """Log-likelihood log-rank ratio of one text."""
    ranks = float(np.log(scored.rank.astype(np.float64)).sum())
    return float(-log_probs(scored).sum()) / max(ranks, math.log(2))
