"""95% intervals of shares, means, ratios of sums, corpus statistics and quantiles.

Wilson's interval is for shares, Student's t for means, the bootstrap for ratios of sums. The grouped jackknife is for
statistics of a whole corpus, order statistics are for quantiles. All are deterministic: the caller gives the seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")

Z = 1.959963984540054
"""97.5th percentile of the standard normal distribution."""
DRAWS = 1 << 22
"""Most bootstrap counts held in memory at once (32 MiB). Further counts are drawn in turns."""
GROUPS = 20
"""Groups of the delete-a-group jackknife: enough for a stable variance, few enough to be quick."""


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95% interval.

    `low` and `high` are NaN if there is no interval. `n` counts the items behind the value.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Lower and upper bound; None unless both are finite."""
        return (self.low, self.high) if math.isfinite(self.low) and math.isfinite(self.high) else None

    @property
    def error(self) -> float:
        """Standard error, from the width of a normal interval; 0 without an interval."""
        return 0.0 if self.interval is None else abs(self.high - self.low) / (2 * Z)

    @property
    def above(self) -> bool:
        """True if the whole interval lies above 0; False without an interval."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """True if the whole interval lies below 0; False without an interval."""
        return self.high < 0


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of the share successes / n (Wilson 1927).

    If n is 0, the interval is (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + Z * Z / (2 * n)
    spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    # Rounding may leave the share itself slightly outside at 0 and 1.
    return max(0.0, min(share, (centre - spread) / scale)), min(1.0, max(share, (centre + spread) / scale))


def ratio_bootstrap(numerators: np.ndarray, denominators: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Return the 95% percentile interval of sum(numerators) / sum(denominators).

    Both arrays are [units]. The bootstrap draws units, such as documents, with replacement. Fewer than two units have
    no spread and give (nan, nan).
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
    """Return Student's 95% interval of the mean of independent values.

    Fewer than two values give (nan, nan).
    """
    from scipy.special import stdtrit  # slow to import, and most commands need no interval

    n = len(values)
    if n < 2:
        return math.nan, math.nan
    reach = float(stdtrit(n - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return float(values.mean()) - reach, float(values.mean()) + reach


def difference(ours: Estimate, theirs: Estimate) -> Estimate:
    """Return ours - theirs with the 95% interval that follows from the intervals of both, as if they were independent.

    Each bound adds the squares of the distances to the bounds that lead there (MOVER, Zou & Donner 2008). Measurements
    that share their items are correlated, and their difference is then known better than this interval says. Without
    both intervals there is none. `n` is the smaller of both.
    """
    value = ours.value - theirs.value
    low = value - math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    high = value + math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    counted = [one.n for one in (ours, theirs) if one.n is not None]
    return Estimate(value, low, high, min(counted, default=None))


def grouped_jackknife(units: Sequence[T], statistic: Callable[[Sequence[T]], float]) -> tuple[float, float]:
    """Return the 95% interval of a corpus statistic that is not a mean, such as distinct-n.

    `units` are the parts of the corpus, such as samples. The interval is the value +- `Z` standard errors. The error is
    estimated by leaving out groups of units. Fewer than two units give (nan, nan).
    """
    groups = group_count(len(units))
    if groups < 2:
        return math.nan, math.nan
    left_out = [statistic([u for i, u in enumerate(units) if i % groups != g]) for g in range(groups)]
    return jackknife_interval(statistic(units), left_out)


def group_count(units: int) -> int:
    """Return the number of jackknife groups for that many units. Unit i belongs to group i modulo this number."""
    return min(GROUPS, units)


def jackknife_interval(value: float, left_out: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the 95% jackknife interval value +- `Z` standard errors (Efron & Tibshirani 1993, ch. 11).

    `left_out[g]` is the statistic without group g. The error is sqrt((G - 1) / G * sum_g (left_out[g] - their mean)^2).
    Fewer than two groups give (nan, nan).
    """
    groups = len(left_out)
    if groups < 2:
        return math.nan, math.nan
    parts = np.asarray(left_out, dtype=np.float64)
    error = math.sqrt((groups - 1) / groups * float(np.sum((parts - parts.mean()) ** 2)))
    return value - Z * error, value + Z * error


def clipped(interval: tuple[float, float], low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
    """Clip both bounds of an interval to [low, high], the range of its statistic. NaN stays NaN."""
    first, last = np.clip(interval, low, high)
    return float(first), float(last)


def quantile_interval(values: np.ndarray, quantile: float) -> tuple[float, float]:
    """Return the 95% interval of a quantile, as two of the sorted values (Conover 1999, section 3.2).

    It holds for any distribution. `quantile` is a share from 0 to 1. The number of values below the true quantile is
    binomial. The bounds are the orders that cut 2.5% off either tail. If n is too small for that, the extreme values
    are the bounds. Fewer than two values give (nan, nan).
    """
    from scipy.special import bdtr

    n = len(values)
    if n < 2:
        return math.nan, math.nan
    cumulative = bdtr(np.arange(n + 1), n, quantile)
    ordered = np.sort(values)
    low = int(np.searchsorted(cumulative, 0.025))
    high = int(np.searchsorted(cumulative, 0.975))
    return float(ordered[max(0, low - 1)]), float(ordered[min(n - 1, high)])
