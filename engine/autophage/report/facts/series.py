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
    """Value of a metric with its 95% interval at one generation."""

    generation: int = 0


def apart(first: Point, second: Point) -> bool | None:
    """Return True if the intervals of two points have no common value.

    Intervals that overlap may still differ in a paired test, so this reading is conservative. The result is None if a
    point has no interval.
    """
    one, two = first.interval, second.interval
    if one is None or two is None:
        return None
    return one[0] > two[1] or two[0] > one[1]


class Metrics:
    """Values of metrics as series over generations, for each arm and metric.

    A row has the keys arm, generation, metric, value, low, high and n. `left_out` counts rows whose value is not
    finite. They are in no series.
    """

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
        """Names of all metrics that some arm has, sorted."""
        return sorted({metric for _, metric in self._series})

    @property
    def arms(self) -> list[str]:
        return sorted({arm for arm, _ in self._series})

    def series(self, arm: str, metric: str) -> list[Point]:
        """Return the points of an arm's metric by rising generation; empty if there are none."""
        return [point for _, point in sorted(self._series.get((arm, metric), {}).items())]

    def at(self, arm: str, metric: str, generation: int) -> Point | None:
        return self._series.get((arm, metric), {}).get(generation)

    def last(self, arm: str, metric: str) -> Point | None:
        points = self.series(arm, metric)
        return points[-1] if points else None

    def ends(self, arm: str, metric: str) -> tuple[Point, Point] | None:
        """Return an arm's points of a metric at generation 0 and at its last generation.

        The result is None if either is missing or both are the same.
        """
        start, end = self.at(arm, metric, 0), self.last(arm, metric)
        return None if start is None or end is None or end.generation == 0 else (start, end)

    def has(self, metric: str) -> bool:
        return any(name == metric for _, name in self._series)


def _bound(value: float | None) -> float:
    """Return a bound of an interval as a float. A bound that is null in the file is NaN."""
    return math.nan if value is None else float(value)
