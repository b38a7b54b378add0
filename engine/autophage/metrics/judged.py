"""Outcome of the gates: shares of the samples of a corpus, with Wilson intervals.

- `gate/accepted`: samples that may be trained on. `gate/rejected`: all others.
- `gate/rejected.REASON`: samples that a gate rejected for that reason. These shares add up to `gate/rejected`.
- `gate/accepted.REMARK`: accepted samples with a gate's remark, abstentions among them. A sample may have several.
- `gate/weight`: mean weight of the accepted samples; no row if none was accepted.

All other metrics of a corpus describe accepted and rejected samples alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autophage.metrics.intervals import mean_interval, wilson
from autophage.store.corpus import Sample
from autophage.store.judged import count_judged
from autophage.store.manifest import Metric


def judged_metrics(samples: Sequence[Sample]) -> list[Metric]:
    """Compute the shares of samples that the gates accepted and rejected, by reason, and the mean weight.

    `n` counts samples; for the weight, accepted samples. Without samples the list is empty.
    """
    if not samples:
        return []
    n = len(samples)
    counts = count_judged((sample.accepted, sample.gate) for sample in samples)
    shares = {name: count for name, count in counts.items() if name != "samples"}
    metrics = [Metric(f"gate/{name}", count / n, *wilson(count, n), n) for name, count in shares.items()]
    weights = np.array([sample.weight for sample in samples if sample.accepted])
    if weights.size:
        metrics.append(Metric("gate/weight", float(weights.mean()), *mean_interval(weights), weights.size))
    return metrics
