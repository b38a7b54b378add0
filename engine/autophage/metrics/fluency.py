"""Perplexity of human text, whole and by role, and entropy of the model's own samples.

Perplexity is exp of the mean negative log-prob per token (natural log). Each token is given all earlier tokens of its
document or window. Intervals are the bootstrap over documents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autophage.data.source import HeldOut, Role
from autophage.metrics.intervals import ratio_bootstrap
from autophage.metrics.scored import Statistics
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric

ROLE_METRICS = {"fluency/ppl_form": Role.FORM, "fact/ppl": Role.FACT}


def perplexity_metrics(
    documents: Sequence[HeldOut], scored: Sequence[Statistics], resamples: int, seed: int
) -> list[Metric]:
    """Compute the perplexity of held-out human documents over all tokens and over each labelled role.

    `scored[i]` holds the token statistics of `documents[i]` after its context. The names are `fluency/ppl_human`,
    `fluency/ppl_form` and `fact/ppl`. `n` counts tokens. A metric without tokens is left out.
    """
    masks = {"fluency/ppl_human": [np.ones(len(stats.logprob), dtype=bool) for stats in scored]}
    for name, role in ROLE_METRICS.items():
        masks[name] = [np.array([r is role for r in document.roles[document.context :]]) for document in documents]
    metrics = []
    for name, kept in masks.items():
        losses = np.array(
            [-stats.logprob[mask].sum(dtype=np.float64) for stats, mask in zip(scored, kept, strict=True)]
        )
        counts = np.array([float(mask.sum()) for mask in kept])
        if counts.sum() > 0:
            low, high = ratio_bootstrap(losses, counts, resamples, seed)
            value = losses.sum() / counts.sum()
            metrics.append(Metric(name, math.exp(value), math.exp(low), math.exp(high), int(counts.sum())))
    return metrics


def onpolicy_metrics(samples: Sequence[Statistics | Sample], resamples: int, seed: int) -> list[Metric]:
    """Compute mean entropy (nats), varentropy (nats^2) and surprisal gap (nats) per token of a model's own samples.

    The surprisal gap is surprisal minus entropy. Its expectation is 0 at temperature 1 without truncation. Other
    decoding settings move it. `n` counts tokens. Without tokens the list is empty.
    """
    counts = np.array([float(len(one.logprob)) for one in samples])
    if counts.sum() == 0:
        return []
    sums = {
        "onpolicy/entropy": [one.entropy.sum(dtype=np.float64) for one in samples],
        "onpolicy/varentropy": [one.varentropy.sum(dtype=np.float64) for one in samples],
        "onpolicy/surprisal_gap": [(-one.logprob - one.entropy).sum(dtype=np.float64) for one in samples],
    }
    metrics = []
    for name, values in sums.items():
        totals = np.array(values)
        low, high = ratio_bootstrap(totals, counts, resamples, seed)
        metrics.append(Metric(name, float(totals.sum() / counts.sum()), low, high, int(counts.sum())))
    return metrics
