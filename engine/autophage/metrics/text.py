"""What can be seen in the samples' text alone: variety, redundancy, repetition.

- `text/distinct_2`: different word bigrams / all word bigrams (Li et al. 2016, arXiv 1510.03055). It falls with the
  number of samples, so compare only corpora of one size.
- `text/compression`: bytes / gzip bytes of all samples together (Shaib et al. 2024, arXiv 2403.00553); higher is more
  redundant.
- `text/duplicate`: share of samples whose text is also an earlier sample's.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Sequence

from autophage.metrics.intervals import grouped_jackknife, wilson
from autophage.store.manifest import Metric


def text_metrics(texts: Sequence[str]) -> list[Metric]:
    if not texts:
        return []
    repeated = len(texts) - len(set(texts))
    metrics = [Metric("text/duplicate", repeated / len(texts), *wilson(repeated, len(texts)), len(texts))]
    for name, statistic in (("text/distinct_2", distinct_2), ("text/compression", compression)):
        metrics.append(Metric(name, statistic(texts), *grouped_jackknife(texts, statistic), len(texts)))
    return metrics


def distinct_2(texts: Sequence[str]) -> float:
    """0 where no text has two words."""
    different: set[tuple[str, str]] = set()
    total = 0
    for text in texts:
        words = text.split()
        different.update(itertools.pairwise(words))
        total += max(0, len(words) - 1)
    return len(different) / total if total else 0.0


def compression(texts: Sequence[str]) -> float:
    """1 for nothing at all, which neither shrinks nor grows."""
    raw = "\n".join(texts).encode("utf-8", "replace")
    return len(raw) / len(gzip.compress(raw, mtime=0)) if raw else 1.0
