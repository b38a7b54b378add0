"""95% intervals: Wilson for shares, Student's t for means, the bootstrap for ratios of sums, the grouped jackknife for
whole-corpus statistics, order statistics for quantiles.

All are deterministic: resampling takes its seed from the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

Z = 1.959963984540054
"""97.5th percentile of the standard normal distribution."""
DRAWS = 1 << 22
"""Bootstrap counts held at once (32 MiB); more are drawn in turns."""
GROUPS = 20
"""Groups of the delete-a-group jackknife: enough for a stable variance, few enough to be quick."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson score interval of the share successes / n (Wilson 1927). (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + Z * Z / (2 * n)
    spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    # Rounding may leave the share itself a hair outside at 0 and 1.
    return max(0.0, min(share, (centre - spread) / scale)), min(1.0, max(share, (centre + spread) / scale))


def ratio_bootstrap(numerators: np.ndarray, denominators: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile interval of sum(numerators) / sum(denominators), units (documents) drawn with replacement.

    Both arrays are [units]. A single unit, or none, has no spread: (nan, nan).
    """
    units = len(numerators)
    if units < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    both = np.stack([numerators, denominators], axis=1)
    rows = max(1, DRAWS // units)
    sums = np.concatenate(
        [
            rng.multinomial(units, np.full(units, 1.0 / units), size=min(rows, resamples - start)) @ both
            for start in range(0, resamples, rows)
        ]
    )
    ratios = np.divide(sums[:, 0], sums[:, 1], out=np.full(resamples, math.nan), where=sums[:, 1] > 0)
    low, high = np.nanpercentile(ratios, [2.5, 97.5]) if np.isfinite(ratios).any() else (math.nan, math.nan)
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's interval of the mean of independent values; fewer than two have no spread: (nan, nan)."""
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    reach = student_t(0.975, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return float(values.mean()) - reach, float(values.mean()) + reach


def grouped_jackknife(units: Sequence[T], statistic: Callable[[Sequence[T]], float]) -> tuple[float, float]:
    """Interval of a statistic that is no mean (distinct-n, compression): value +- Z standard errors, from leaving out groups."""
    groups = group_count(len(units))
    if groups < 2:
        return math.nan, math.nan
    left_out = [statistic([u for i, u in enumerate(units) if i % groups != g]) for g in range(groups)]
    return jackknife_interval(statistic(units), left_out)


def group_count(units: int) -> int:
    """Groups of the jackknife over so many units; unit i belongs to group i modulo this."""
    return min(GROUPS, units)


def jackknife_interval(value: float, left_out: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """value +- Z standard errors, where `left_out[g]` is the statistic without group g (Efron & Tibshirani 1993, ch. 11).

    The error is sqrt((G - 1) / G * sum_g (left_out[g] - their mean)^2). Fewer than two groups have no spread: (nan, nan).
    """
    groups = len(left_out)
    if groups < 2:
        return math.nan, math.nan
    parts = np.asarray(left_out, dtype=np.float64)
    error = math.sqrt((groups - 1) / groups * float(np.sum((parts - parts.mean()) ** 2)))
    return value - Z * error, value + Z * error


def clipped(interval: tuple[float, float], low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
    """An interval within the values that a statistic can have; nan stays nan."""
    first, last = np.clip(interval, low, high)
    return float(first), float(last)


def quantile_interval(values: np.ndarray, quantile: float) -> tuple[float, float]:
    """Interval of a quantile between two order statistics, exact for any distribution (Conover 1999, section 3.2).

    The number of values below the true quantile is binomial, so it lies between the orders that cut 2.5% off either
    tail. Where n is too small for that the extreme values stand in, and fewer than two values give (nan, nan).
    """
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    below = np.arange(n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_choose = log_factorial[n] - log_factorial[below] - log_factorial[n - below]
    cumulative = np.cumsum(np.exp(log_choose + below * math.log(quantile) + (n - below) * math.log1p(-quantile)))
    ordered = np.sort(values)
    low = int(np.searchsorted(cumulative, 0.025))
    high = int(np.searchsorted(cumulative, 0.975))
    return float(ordered[max(0, low - 1)]), float(ordered[min(n - 1, high)])


def student_t(probability: float, degrees: int) -> float:
    """Quantile of Student's t distribution, `probability` in (0.5, 1), by bisection of its closed-form distribution."""
    low, high = 0.0, 1.0
    while student_cdf(high, degrees) < probability:
        low, high = high, 2 * high
    for _ in range(80):  # halvings: more than a double can tell apart
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, degrees) < probability else (low, middle)
    return high


def student_cdf(t: float, degrees: int) -> float:
    """P(T <= t) for t >= 0 and whole degrees of freedom: a finite sum (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    term, total = 1.0, 0.0
    for power in range(degrees // 2):
        total += term
        term *= (
            cosine * cosine * ((2 * power + 2) / (2 * power + 3) if degrees % 2 else (2 * power + 1) / (2 * power + 2))
        )
    if degrees % 2:
        return 0.5 + (angle + sine * cosine * total) / math.pi
    return 0.5 + sine * total / 2
