"""95% intervals: Wilson for shares, the bootstrap for ratios of sums, the grouped jackknife for whole-corpus statistics.

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


def grouped_jackknife(units: Sequence[T], statistic: Callable[[Sequence[T]], float]) -> tuple[float, float]:
    """Interval of a statistic that is no mean (distinct-n, compression): value +- Z standard errors, from leaving out groups."""
    value = statistic(units)
    groups = min(GROUPS, len(units))
    if groups < 2:
        return math.nan, math.nan
    left_out = np.array([statistic([u for i, u in enumerate(units) if i % groups != g]) for g in range(groups)])
    error = math.sqrt((groups - 1) / groups * float(np.sum((left_out - left_out.mean()) ** 2)))
    return value - Z * error, value + Z * error
