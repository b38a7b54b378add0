"""Metrics as series over generations.

The module is built from rows and knows no files. A value that is not finite is left out of its series and counted. In
a plot or a sentence, infinity would mislead more than a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autophage.metrics.intervals import Estimate


@dataclass(frozen=True)
class Point(Estimate):
    """An estimate at one generation."""

    generation: int = 0


def apart(first: Point, second: Point) -> bool | None:
    """True if two intervals have no common value; None if one of the points has no interval.

    Intervals that overlap may still differ in a paired test, so this reading is conservative.
    """
    one, two = first.interval, second.interval
    if one is None or two is None:
        return None
    return one[0] > two[1] or two[0] > one[1]


class Metrics:
    """Rows of (arm, generation, metric, value, low, high, n), grouped. `left_out` counts values that are not finite."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.left_out = 0
        self._series: dict[tuple[str, str], dict[int, Point]] = {}
        for row in rows:
            value = row["value"]
            if value is None or not math.isfinite(value):
                self.left_out += 1
                continue
            point = Point(float(value), _bound(row["low"]), _bound(row["high"]), row["n"], int(row["generation"]))
            self._series.setdefault((row["arm"], row["metric"]), {})[point.generation] = point

    @property
    def names(self) -> list[str]:
        """All metrics that some arm has, sorted."""
        return sorted({metric for _, metric in self._series})

    @property
    def arms(self) -> list[str]:
        return sorted({arm for arm, _ in self._series})

    def series(self, arm: str, metric: str) -> list[Point]:
        """Points of an arm by generation; empty if it has none."""
        return [point for _, point in sorted(self._series.get((arm, metric), {}).items())]

    def at(self, arm: str, metric: str, generation: int) -> Point | None:
        return self._series.get((arm, metric), {}).get(generation)

    def last(self, arm: str, metric: str) -> Point | None:
        points = self.series(arm, metric)
        return points[-1] if points else None

    def ends(self, arm: str, metric: str) -> tuple[Point, Point] | None:
        """Generation 0 and the last generation after it; None if either is missing."""
        start, end = self.at(arm, metric, 0), self.last(arm, metric)
        return None if start is None or end is None or end.generation == 0 else (start, end)

    def has(self, metric: str) -> bool:
        return any(name == metric for _, name in self._series)


def _bound(value: float | None) -> float:
    """A bound of an interval. The file holds null if there is none."""
    return math.nan if value is None else float(value)
