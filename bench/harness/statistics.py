"""Medians, quartiles and paired ratios.

Pairing compares neighbours in time. Both sides then share a machine's changes of speed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Median between the quartiles."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Quartiles of at least one value.

    Raises:
        ValueError: there are none, or one is not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"needs at least one value, all finite; got {list(values)}")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """`above / below` for each turn. Turns without a partner are left out."""
    return [one / other for one, other in zip(above, below, strict=False)]


def percentile(values: Sequence[float], share: float) -> float:
    """Smallest value that at least `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quarters(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and last quarter, which agree if a long series is flat."""
    size = max(1, len(values) // 4)
    return statistics.median(values[:size]), statistics.median(values[-size:])
