"""Knowledge of a model: accuracy, confidence and form of its answers to probes.

The model's greedy continuation answers a probe, teacher-forced along the right answer. The answer is right if each of
its tokens is the most probable one. `confidence` is the probability of the model's own greedy answer, up to and
including the first token that leaves the right answer. `confidently_wrong` is the share of all probes answered wrongly
with more confidence than the recipe's bound. `knowledge/ece` is the expected calibration error of that confidence.
`format/compliance` is the share of answers of the requested kind (a city for a city), right or wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from autophage.data.source import Probe
from autophage.metrics.calibration import calibration_error
from autophage.metrics.intervals import ratio_bootstrap, wilson
from autophage.metrics.scored import Scored
from autophage.store.manifest import Metric


def knowledge_metrics(
    probes: Sequence[Probe], scored: Sequence[Scored], confident: float, resamples: int, seed: int
) -> list[Metric]:
    """Compute accuracy, confidence, calibration and form of the answers to probes.

    Each metric covers all probes, each frequency bucket, each format, and each bucket in each format. `scored[i]` holds
    the statistics of the answer tokens of `probes[i]`. A wrong answer is confidently wrong if its confidence exceeds
    `confident`. `n` counts probes.
    """
    right, confidence, complies = _answers(probes, scored)
    wrong_and_sure = ~right & (confidence > confident)
    metrics = []
    for suffix, chosen in _slices(probes).items():
        facts = len({probes[index].fact for index in chosen})
        for name, values in (
            ("knowledge/accuracy", right),
            ("knowledge/confidently_wrong", wrong_and_sure),
            ("format/compliance", complies),
        ):
            # Several formats ask for one fact, so the interval counts facts, not probes.
            share = float(values[chosen].mean())
            low, high = wilson(share * facts, facts)
            metrics.append(Metric(name + suffix, share, low, high, len(chosen)))
        units = _fact_numbers(probes, chosen)
        sums, counts = np.bincount(units, weights=confidence[chosen]), np.bincount(units).astype(float)
        low, high = ratio_bootstrap(sums, counts, resamples, seed)
        metrics.append(
            Metric("knowledge/confidence" + suffix, float(confidence[chosen].mean()), low, high, len(chosen))
        )
        error, interval = calibration_error(right[chosen], confidence[chosen], units)
        metrics.append(Metric("knowledge/ece" + suffix, error, *interval, len(chosen)))
    return metrics


def _answers(probes: Sequence[Probe], scored: Sequence[Scored]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return three arrays over the probes: right, confidence, and complies.

    `right` and `complies` (the answer is of the kind asked for) are booleans. `confidence` is the probability of the
    model's own answer.
    """
    right = np.zeros(len(probes), dtype=bool)
    confidence = np.zeros(len(probes))
    complies = np.zeros(len(probes), dtype=bool)
    for index, (probe, stats) in enumerate(zip(probes, scored, strict=True)):
        hits = stats.argmax == np.asarray(probe.answer_ids)
        right[index] = hits.all()
        reached = len(hits) if right[index] else int(np.argmin(hits)) + 1
        confidence[index] = float(np.prod(stats.max_prob[:reached], dtype=np.float64))
        complies[index] = int(stats.argmax[0]) in probe.valid_first
    return right, confidence, complies


def _slices(probes: Sequence[Probe]) -> dict[str, np.ndarray]:
    """Map the suffix of a metric's name to the indices of its probes.

    The slices are all probes, each bucket, each format, and each bucket in each format.
    """
    slices: dict[str, list[int]] = defaultdict(list)
    for index, probe in enumerate(probes):
        for suffix in ("", f".{probe.bucket}", f".{probe.format}", f".{probe.bucket}.{probe.format}"):
            slices[suffix].append(index)
    return {suffix: np.asarray(indices) for suffix, indices in slices.items()}


def _fact_numbers(probes: Sequence[Probe], chosen: np.ndarray) -> np.ndarray:
    """Return the number, from 0, of the fact that each probe asks for. `chosen` holds the indices of the probes."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(probes[index].fact, len(numbers)) for index in chosen])
