"""Differences of metrics between the first run of a comparison and each other one.

Arms are matched by their name without the seed, generations by their number. With two common seeds or more, values are
paired by seed. Otherwise the difference has the interval that follows from those of both values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autophage.metrics.intervals import Estimate, difference
from autophage.metrics.retention import paired
from autophage.report.comparison.reading import ComparedRun
from autophage.report.facts.pooling import mean_point
from autophage.report.facts.series import Point
from autophage.report.tables import HEADLINES

RULE = (
    "Each difference is the value of a run minus that of A. With two common seeds or more, values are paired by seed, and the "
    "95% interval is Student's t over seeds. Otherwise the interval follows from those of both values as if they were "
    "independent (MOVER). It is then too wide where both answered the same questions, and it does not cover the spread between "
    "seeds. Of 20 intervals, one excludes 0 by chance."
)
PAIRED, INDEPENDENT = "paired by seed", "independent"


@dataclass(frozen=True)
class MetricDifference:
    """Difference of one metric between two runs, in one arm and generation.

    `ours` and `theirs` are the values of the run and of the first run, as means over the seeds that are compared. `found`
    is ours - theirs. If it is paired, its `n` counts seeds.
    """

    run: str
    arm: str
    generation: int
    metric: str
    ours: Point
    theirs: Point
    found: Estimate
    pairing: str

    @property
    def differs(self) -> bool:
        """True if the 95% interval of the difference excludes 0."""
        return self.found.above or self.found.below


def common_arms(first: ComparedRun, other: ComparedRun) -> list[str]:
    """Return the arms that two runs share, by name without the seed."""
    return [name for name in first.groups if name in other.groups]


def common_last(first: ComparedRun, other: ComparedRun, arm: str) -> int:
    """Return the last generation that two runs have of an arm, under every seed; -1 if there is none."""
    return min(one.last for one in (*first.group(arm), *other.group(arm)))


def differences(first: ComparedRun, other: ComparedRun, arm: str, generation: int) -> list[MetricDifference]:
    """Return the differences of all metrics that both runs have in one arm and generation.

    Headline metrics come first, the others by name.
    """
    names = [name for name in first.metrics.names if other.metrics.has(name)]
    ordered = [name for name in HEADLINES if name in names] + [name for name in names if name not in HEADLINES]
    found = (_difference(first, other, arm, generation, metric) for metric in ordered)
    return [one for one in found if one is not None]


def headline_differences(found: Sequence[MetricDifference]) -> list[MetricDifference]:
    return [one for one in found if one.metric in HEADLINES]


def all_differences(runs: Sequence[ComparedRun]) -> Iterator[MetricDifference]:
    """Yield the differences of every run from the first, in all arms and generations that both have."""
    first, *others = runs
    for other in others:
        for arm in common_arms(first, other):
            for generation in range(common_last(first, other, arm) + 1):
                yield from differences(first, other, arm, generation)


def _difference(
    first: ComparedRun, other: ComparedRun, arm: str, generation: int, metric: str
) -> MetricDifference | None:
    ours, theirs = (points_of(run, arm, generation, metric) for run in (other, first))
    if not ours or not theirs:
        return None
    common = [seed for seed in ours if seed is not None and seed in theirs]
    if len(common) > 1:
        own, reference = (pooled_point({seed: points[seed] for seed in common}) for points in (ours, theirs))
        found = paired({seed: ours[seed].value for seed in common}, {seed: theirs[seed].value for seed in common})
        assert found is not None
        return MetricDifference(other.letter, arm, generation, metric, own, reference, found, PAIRED)
    own, reference = pooled_point(ours), pooled_point(theirs)
    found = difference(own, reference)
    return MetricDifference(other.letter, arm, generation, metric, own, reference, found, INDEPENDENT)


def points_of(run: ComparedRun, arm: str, generation: int, metric: str) -> dict[int | None, Point]:
    """Return a metric of an arm by seed; empty unless every seed has it."""
    points = {one.seed: run.metrics.at(one.name, metric, generation) for one in run.group(arm)}
    known = {seed: point for seed, point in points.items() if point is not None}
    return known if len(known) == len(points) else {}


def pooled_point(points: Mapping[int | None, Point]) -> Point:
    values = list(points.values())
    return values[0] if len(values) == 1 else mean_point(values)
