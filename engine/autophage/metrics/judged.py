"""What gates let through: shares of the samples of a corpus, with Wilson intervals.

- `gate/accepted`: samples that may be trained on; `gate/rejected` the others.
- `gate/rejected.REASON`: those that a gate rejected for that reason. They add up to `gate/rejected`.
- `gate/accepted.REMARK`: accepted ones of which a gate remarked something, abstentions among them. One may have several.
- `gate/weight`: mean weight of an accepted sample; none where nothing was accepted.

Every other metric of a corpus describes all that was written, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autophage.metrics.intervals import mean_interval, wilson
from autophage.store.corpus import Sample
from autophage.store.judged import count_judged
from autophage.store.manifest import Metric


def judged_metrics(samples: Sequence[Sample]) -> list[Metric]:
    """`n` counts samples, of the weight accepted ones."""
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
