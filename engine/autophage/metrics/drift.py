"""Distance of a model from other models, and its text under model 0.

- `drift/kl_to_base`, `drift/kl_to_previous`: KL(p_g || p_ref) = sum_v p_g(v) log(p_g(v) / p_ref(v)) in nats
  (Kullback & Leibler 1951). The sum runs over the whole vocabulary, the mean over the tokens of model g's own samples.
- `tail/ppl_under_base`: median over samples of the perplexity under model 0, exp of the mean negative log-prob of a
  sample's tokens; also `.mean`, `.p05`, `.p95`. Its histogram is the tail plot of arXiv 2305.17493. In a collapse, mass
  moves to low perplexities. A tail grows of text that model 0 would hardly have written.

Intervals are the bootstrap over samples, and order statistics for quantiles. Samples without tokens have no perplexity
and do not count. If no sample has a token, there are no rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autophage.metrics.intervals import quantile_interval, ratio_bootstrap
from autophage.metrics.scored import Compared, Scored, log_probs
from autophage.store.manifest import Metric

QUANTILES = {"": 0.5, ".p05": 0.05, ".p95": 0.95}


def divergence_metrics(name: str, compared: Sequence[Compared], resamples: int, seed: int) -> list[Metric]:
    """Compute the metric `name`: the mean KL divergence per token from another model, in nats.

    `compared` holds each sample's divergence at every token. `n` counts tokens. Without tokens the list is empty.
    """
    counts = np.array([float(len(one.kl)) for one in compared])
    tokens = counts.sum()
    if tokens == 0:
        return []
    sums = np.array([one.kl.sum(dtype=np.float64) for one in compared])
    return [Metric(name, float(sums.sum() / tokens), *ratio_bootstrap(sums, counts, resamples, seed), int(tokens))]


def perplexities(scored: Sequence[Scored]) -> list[float | None]:
    """Return the perplexity of each sequence under the model that scored it.

    A sequence without tokens has None.
    """
    return [float(np.exp(-log_probs(one).mean())) if len(one.logprob) else None for one in scored]


def tail_perplexity_metrics(values: Sequence[float | None], resamples: int, seed: int) -> list[Metric]:
    """Compute the median, mean, 5th and 95th percentile of the samples' perplexities under model 0.

    `values` has one perplexity for each sample, None for a sample without tokens. `n` counts the samples that have
    tokens. Without any, the list is empty.
    """
    known = np.array([value for value in values if value is not None])
    if not known.size:
        return []
    metrics = [
        Metric(f"tail/ppl_under_base{suffix}", float(np.quantile(known, q)), *quantile_interval(known, q), known.size)
        for suffix, q in QUANTILES.items()
    ]
    low, high = ratio_bootstrap(known, np.ones(known.size), resamples, seed)
    return [*metrics, Metric("tail/ppl_under_base.mean", float(known.mean()), low, high, known.size)]
