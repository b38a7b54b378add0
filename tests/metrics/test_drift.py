"""Perplexity under another model, divergence, detectors and tails against plain definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from tests.present import present

from autophage.metrics.corpus import drift_metrics
from autophage.metrics.detection import curvature, detection_metrics, log_rank_ratio
from autophage.metrics.drift import divergence_metrics, perplexities, tail_perplexity_metrics
from autophage.metrics.human import BUCKETS, UNSEEN, buckets_of, count_human
from autophage.metrics.intervals import grouped_jackknife
from autophage.metrics.scored import FLOOR, Compared, Scored
from autophage.metrics.tail import tail_metrics
from autophage.recipe.tables.measure import MeasureTable


def scored(logprob: list[float], rank: list[int] | None = None) -> Scored:
    n = len(logprob)
    one = np.ones(n, dtype=np.float32)
    ranks = np.array(rank or [1] * n, dtype=np.int64)
    return Scored(np.array(logprob, dtype=np.float32), 0.5 * one, 0.25 * one, 0.9 * one, ranks, np.zeros(n, dtype=int))


def compared(kl: list[float]) -> Compared:
    return Compared(scored([-1.0] * len(kl)), np.array(kl, dtype=np.float32))


def sampled(p: np.ndarray, tokens: np.ndarray) -> Scored:
    """Scores of `tokens` under a model with one distribution `p` everywhere."""
    n, logs = len(tokens), np.log(p)
    entropy = -(p * logs).sum()
    varentropy = (p * (logs + entropy) ** 2).sum()
    ranks = 1 + (p[None, :] > p[tokens][:, None]).sum(axis=1)
    return Scored(
        logs[tokens], np.full(n, entropy), np.full(n, varentropy), np.full(n, p.max()), ranks, np.full(n, p.argmax())
    )


def test_perplexity_of_each_sample() -> None:
    found = perplexities([scored([-1.0, -3.0]), scored([]), scored([-math.inf])])
    assert found == [pytest.approx(math.exp(2.0)), None, pytest.approx(math.exp(-FLOOR))]


def test_the_tail_plot_in_numbers() -> None:
    values = list(np.random.default_rng(0).lognormal(1.0, 0.5, size=400))
    found = {metric.metric: metric for metric in tail_perplexity_metrics([None, *values], 200, 0)}
    assert found["tail/ppl_under_base"].value == pytest.approx(np.median(values))
    assert found["tail/ppl_under_base.p95"].value == pytest.approx(np.quantile(values, 0.95))
    assert found["tail/ppl_under_base.mean"].value == pytest.approx(np.mean(values))
    for metric in found.values():
        assert present(metric.low) < metric.value < present(metric.high)
        assert metric.n == 400
    assert tail_perplexity_metrics([None, None], 100, 0) == []


def test_divergence_is_the_mean_over_tokens_not_over_samples() -> None:
    (metric,) = divergence_metrics("drift/kl_to_base", [compared([1.0]), compared([0.0] * 3), compared([])], 100, 0)
    assert (metric.value, metric.n) == (0.25, 4)
    assert divergence_metrics("drift/kl_to_base", [compared([])], 100, 0) == []


def test_model_0_has_no_previous_model() -> None:
    names = [m.metric for m in drift_metrics([], [compared([0.0])] * 3, None, MeasureTable(resamples=100), 0)]
    assert "drift/kl_to_base" in names
    assert "drift/kl_to_previous" not in names


def test_curvature_is_the_analytic_form_of_sampled_perturbations() -> None:
    """Fast-DetectGPT by its definition: the text's log-prob against those of texts sampled from the detector."""
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(20))
    text = rng.integers(0, 20, size=50)
    others = np.log(p)[rng.choice(20, size=(20_000, 50), p=p)].sum(axis=1)
    expected = (np.log(p)[text].sum() - others.mean()) / others.std()
    assert curvature(sampled(p, text)) == pytest.approx(expected, abs=0.1)


def test_curvature_of_the_detectors_own_text_is_standard_normal() -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(30))
    values = [curvature(sampled(p, rng.choice(30, size=60, p=p))) for _ in range(600)]
    assert np.mean(values) == pytest.approx(0.0, abs=0.15)
    assert np.std(values) == pytest.approx(1.0, abs=0.1)


def test_log_rank_ratio_by_hand() -> None:
    assert log_rank_ratio(scored([-1.0, -2.0], [2, 4])) == pytest.approx(3.0 / (math.log(2) + math.log(4)))
    assert log_rank_ratio(scored([-0.1, -0.1])) == pytest.approx(0.2 / math.log(2))


def test_detectors_have_values_for_certainty_and_impossibility() -> None:
    zeros = np.zeros(3, dtype=np.float32)
    certain = Scored(zeros, zeros, zeros, np.ones(3), np.ones(3, dtype=int), np.zeros(3))
    assert curvature(certain) == 0.0
    for texts in ([certain] * 4, [scored([-math.inf, -1.0])] * 4, [scored([]), certain]):
        for metric in detection_metrics(texts, 100, 0):
            assert math.isfinite(metric.value), metric
    assert detection_metrics([scored([])], 100, 0) == []


def test_buckets_divide_human_tokens_not_types() -> None:
    bucket = buckets_of(np.array([50, 0, 30, 10, 5, 3, 2]))
    names = [BUCKETS[b] if b != UNSEEN else "unseen" for b in bucket]
    assert names == ["head", "unseen", "torso", "torso", "tail", "tail", "tail"]


def test_mass_and_coverage_by_hand() -> None:
    human = count_human([[0] * 50 + [2] * 40, [3] * 6, [4] * 4], ["", "", ""])
    found = {metric.metric: metric for metric in tail_metrics([[0, 0, 2, 3], [0, 1, 10**6, 2]], human, 200, 0)}
    assert found["tail/mass.head"].value == 3 / 8
    assert found["tail/mass.torso"].value == 2 / 8
    assert found["tail/mass"].value == 1 / 8
    assert found["tail/mass.unseen"].value == 2 / 8
    assert found["tail/mass_vs_human"].value == pytest.approx((1 / 8) / 0.1)
    assert (found["tail/coverage"].value, found["tail/coverage"].n) == (1 / 2, 2)
    assert found["tail/coverage.head"].value == 1.0


def test_the_interval_of_coverage_is_the_grouped_jackknifes() -> None:
    rng = np.random.default_rng(3)
    human = count_human([rng.zipf(1.5, size=3000).clip(0, 400).tolist()], [""])
    samples = [rng.zipf(1.5, size=20).clip(0, 400).tolist() for _ in range(90)]
    types = set(np.flatnonzero(human.bucket == BUCKETS.index("tail")).tolist())

    def covered(units: Sequence[list[int]]) -> float:
        return len(types & {token for ids in units for token in ids}) / len(types)

    (metric,) = [m for m in tail_metrics(samples, human, 100, 0) if m.metric == "tail/coverage"]
    assert metric.value == pytest.approx(covered(samples))
    assert (metric.low, metric.high) == pytest.approx(grouped_jackknife(samples, covered))


def test_human_text_against_itself_is_as_human() -> None:
    rng = np.random.default_rng(4)
    documents = [rng.zipf(1.7, size=30).clip(0, 500).tolist() for _ in range(400)]
    found = {metric.metric: metric.value for metric in tail_metrics(documents, count_human(documents, []), 100, 0)}
    assert found["tail/mass_vs_human"] == pytest.approx(1.0)
    assert found["tail/coverage"] == 1.0
    assert found["tail/mass.unseen"] == 0.0
