"""How far a model has moved: divergence from other models, and what model 0 thinks of its text.

- `drift/kl_to_base`, `drift/kl_to_previous`: KL(p_g || p_ref) = sum_v p_g(v) log(p_g(v) / p_ref(v)) in nats, over the whole
  vocabulary at every token of model g's own samples, averaged per token (Kullback & Leibler 1951). Exact in each context,
  estimated over contexts.
- `tail/ppl_under_base`: perplexity of each sample under model 0, exp of the mean negative log-prob of its tokens: median
  over samples, and `.mean`, `.p05`, `.p95`. The histogram of these is the tail plot of arXiv 2305.17493: mass moves
  to low perplexities while a tail grows of text that model 0 would hardly have written.

Intervals: bootstrap over samples; for quantiles, order statistics. Samples without tokens have no perplexity and count
nowhere; where no sample has a token there are no rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autophage.metrics.intervals import quantile_interval, ratio_bootstrap
from autophage.metrics.scored import Compared, Scored, log_probs
from autophage.store.manifest import Metric

QUANTILES = {"": 0.5, ".p05": 0.05, ".p95": 0.95}


def divergence_metrics(name: str, compared: Sequence[Compared], resamples: int, seed: int) -> list[Metric]:
    """The mean KL per token under `name`; `n` counts tokens."""
    counts = np.array([float(len(one.kl)) for one in compared])
    tokens = counts.sum()
    if tokens == 0:
        return []
    sums = np.array([one.kl.sum(dtype=np.float64) for one in compared])
    return [Metric(name, float(sums.sum() / tokens), *ratio_bootstrap(sums, counts, resamples, seed), int(tokens))]


def perplexities(scored: Sequence[Scored]) -> list[float | None]:
    """Perplexity of each sequence; None where it has no tokens."""
    return [float(np.exp(-log_probs(one).mean())) if len(one.logprob) else None for one in scored]


def tail_perplexity_metrics(values: Sequence[float | None], resamples: int, seed: int) -> list[Metric]:
    """Quantiles and mean of the perplexities of samples under model 0; `n` counts samples that have tokens."""
    known = np.array([value for value in values if value is not None])
    if not known.size:
        return []
    metrics = [
        Metric(f"tail/ppl_under_base{suffix}", float(np.quantile(known, q)), *quantile_interval(known, q), known.size)
        for suffix, q in QUANTILES.items()
    ]
    low, high = ratio_bootstrap(known, np.ones(known.size), resamples, seed)
    return [*metrics, Metric("tail/ppl_under_base.mean", float(known.mean()), low, high, known.size)]
