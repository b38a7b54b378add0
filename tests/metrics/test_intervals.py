from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from autophage.metrics.intervals import (
    Estimate,
    grouped_jackknife,
    mean_interval,
    quantile_interval,
    ratio_bootstrap,
    wilson,
)


def test_wilson_agrees_with_the_textbook() -> None:
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (29, 29), (500, 500)])
def test_wilson_contains_the_share(successes: int, n: int) -> None:
    low, high = wilson(successes, n)
    assert 0.0 <= low <= successes / n <= high <= 1.0


def test_bootstrap_covers_a_known_mean_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        values = rng.exponential(2.0, size=80)
        low, high = ratio_bootstrap(values, np.ones(80), 400, trial)
        hits += low <= 2.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_bootstrap_depends_on_nothing_but_its_seed() -> None:
    values, counts = np.arange(30.0), np.arange(1.0, 31.0)
    assert ratio_bootstrap(values, counts, 200, 5) == ratio_bootstrap(values, counts, 200, 5)
    assert ratio_bootstrap(values, counts, 200, 5) != ratio_bootstrap(values, counts, 200, 6)


def test_one_unit_has_no_spread() -> None:
    assert all(map(math.isnan, ratio_bootstrap(np.ones(1), np.ones(1), 100, 0)))
    assert all(map(math.isnan, grouped_jackknife([1.0], lambda units: sum(units))))


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = list(np.random.default_rng(1).normal(size=2000))
    low, high = grouped_jackknife(values, lambda units: float(np.mean(units)))
    expected = np.std(values) / math.sqrt(len(values))
    assert (high - low) / 2 / 1.96 == pytest.approx(expected, rel=0.4)


def test_quantile_interval_agrees_with_the_textbook() -> None:
    # Conover: the median of 10 lies between the 2nd and 9th value, of 100 between the 40th and 61st.
    assert quantile_interval(np.arange(1.0, 11.0), 0.5) == (2.0, 9.0)
    assert quantile_interval(np.arange(1.0, 101.0), 0.5) == (40.0, 61.0)
    assert all(map(math.isnan, quantile_interval(np.ones(1), 0.5)))


@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.95])
def test_quantile_interval_covers_at_least_95_times_in_100(quantile: float) -> None:
    rng = np.random.default_rng(5)
    true = -math.log(1 - quantile)
    hits = 0
    for _ in range(400):
        low, high = quantile_interval(rng.exponential(size=200), quantile)
        hits += low <= true <= high
    assert hits / 400 >= 0.93


@pytest.mark.parametrize(("seeds", "expected"), [(2, 12.7062047), (3, 4.3026527), (4, 3.1824463), (11, 2.2281389)])
def test_the_interval_of_a_mean_is_students(seeds: int, expected: float) -> None:
    values = np.arange(float(seeds))
    low, high = mean_interval(values)
    assert (high - low) / 2 == pytest.approx(expected * np.std(values, ddof=1) / math.sqrt(seeds), rel=1e-7)
    assert (low + high) / 2 == pytest.approx(values.mean())


@pytest.mark.parametrize("n", [2, 5, 39, 100, 1000])
@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.95])
def test_quantile_bounds_are_binomial_quantiles(n: int, quantile: float) -> None:
    low, high = quantile_interval(np.arange(float(n)), quantile)
    assert low == max(0, binom.ppf(0.025, n, quantile) - 1)
    assert high == min(n - 1, binom.ppf(0.975, n, quantile))


def test_an_estimate_knows_its_interval() -> None:
    shown, unknown = Estimate(0.2, 0.1, 0.3, 5), Estimate(0.2)
    assert (shown.interval, shown.above, shown.below) == ((0.1, 0.3), True, False)
    assert shown.error == pytest.approx(0.1 / 1.96, rel=1e-4)
    assert (unknown.interval, unknown.above, unknown.below, unknown.error) == (None, False, False, 0.0)
    assert Estimate(1.0, 0.0, math.inf).interval is None
