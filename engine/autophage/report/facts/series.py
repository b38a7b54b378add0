"""Metrics as series over generations: `Metrics` answers "what did this arm measure, generation by generation".

Pure: built from rows, knows no files. A value that is not finite is left out of the series and counted, because a plot
or a sentence about infinity would mislead more than a gap.
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
    """Whether the intervals of two points have nothing in common; None where one of them has no interval.

    Two intervals that overlap may still differ in a paired test, so this is the conservative reading.
    """
    one, two = first.interval, second.interval
    if one is None or two is None:
        return None
    return one[0] > two[1] or two[0] > one[1]


class Metrics:
    """Rows of (arm, generation, metric, value, low, high, n), grouped; `left_out` counts values that are not finite."""

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
        """Every metric that some arm has, sorted."""
        return sorted({metric for _, metric in self._series})

    @property
    def arms(self) -> list[str]:
        return sorted({arm for arm, _ in self._series})

    def series(self, arm: str, metric: str) -> list[Point]:
        """The points of an arm in order of generation; empty where it has none."""
        return [point for _, point in sorted(self._series.get((arm, metric), {}).items())]

    def at(self, arm: str, metric: str, generation: int) -> Point | None:
        return self._series.get((arm, metric), {}).get(generation)

    def last(self, arm: str, metric: str) -> Point | None:
        points = self.series(arm, metric)
        return points[-1] if points else None

    def ends(self, arm: str, metric: str) -> tuple[Point, Point] | None:
        """Generation 0 and the last generation after it; None where either is missing."""
        start, end = self.at(arm, metric, 0), self.last(arm, metric)
        return None if start is None or end is None or end.generation == 0 else (start, end)

    def has(self, metric: str) -> bool:
        return any(name == metric for _, name in self._series)


def _bound(value: float | None) -> float:
    """A bound of an interval. The file holds null if there is none."""
    return math.nan if value is None else float(value)
