"""Pooled seeds: arms that differ only in their seed become one line with an interval over seeds.

The value is the mean over seeds, at the generations that all seeds have. The interval is the wider of two: Student's t
over seeds, and the mean of the seeds' own intervals. All seeds answer the same questions about the same human text, so
that uncertainty does not shrink with more seeds. A run with one seed stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autophage.metrics.intervals import mean_interval
from autophage.recipe.arms import CONTROL, Arm, arm_name, expand
from autophage.report.facts.load import RunFacts
from autophage.report.facts.series import Metrics, Point

SEED = "seed"


def pooled(facts: RunFacts) -> RunFacts:
    """Return a copy of `facts` in which arms that differ only in their seed are one arm.

    Its metrics are those of the pooled arms and of their members. A run with one seed is returned as it is.
    """
    groups = pools(facts)
    if not groups:
        return facts
    by_name = {arm.name: arm for arm in facts.arms}
    members = {name for group in groups.values() for name in group}
    firsts = {name: by_name[group[0]] for name, group in groups.items()}
    pool_of = {member: name for name, group in groups.items() for member in group}
    arms = [replace(arm, name=name, control_name=pool_of.get(arm.control_name or "")) for name, arm in firsts.items()]
    arms += [arm for arm in facts.arms if arm.name not in members]
    rows = [*facts.rows, *(row for name, group in groups.items() for row in _rows(facts, name, group))]
    return replace(facts, arms=arms, metrics=Metrics(rows), rows=rows)


def pools(facts: RunFacts) -> dict[str, list[str]]:
    """Map the name of each pooled arm to its members.

    The members differ only in their seed. The mapping is empty unless the run sweeps its seed.
    """
    if not pooled_seeds(facts):
        return {}
    known = {arm.name for arm in facts.arms}
    groups: dict[str, list[str]] = {}
    for arm in expand(facts.recipe):
        if arm.name in known:
            groups.setdefault(group_of(arm), []).append(arm.name)
    return groups


def pooled_seeds(facts: RunFacts) -> list[int]:
    """Return the seeds that a run sweeps; empty for a run with one seed."""
    seeds = [int(seed) for seed in facts.recipe.sweep.get(SEED, ())]
    return seeds if len(seeds) > 1 else []


def group_of(arm: Arm) -> str:
    """Return the name of an arm without its seed: that of the pooled arm that it belongs to."""
    name = arm_name({key: value for key, value in arm.settings.items() if key != SEED})
    if not arm.added:
        return name or "main"
    return f"{CONTROL}_{name}" if name else CONTROL


def _rows(facts: RunFacts, name: str, group: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for metric in facts.metrics.names:
        series = [{point.generation: point for point in facts.metrics.series(arm, metric)} for arm in group]
        common = sorted(set.intersection(*(set(one) for one in series)))
        for generation in common:
            point = mean_point([one[generation] for one in series])
            rows.append({"arm": name, "metric": metric, **vars(point)})
    return rows


def mean_point(points: Sequence[Point]) -> Point:
    """Return the mean of the points of several seeds, with the wider of two intervals: over seeds, or their own."""
    values = np.array([point.value for point in points])
    value, generation = float(values.mean()), points[0].generation
    own = [(one.value - bounds[0], bounds[1] - one.value) for one in points if (bounds := one.interval) is not None]
    if not own and np.ptp(values) == 0:  # a closed form, the same for every seed
        return Point(value, generation=generation)
    over_seeds = 0.0 if len(points) < 2 else mean_interval(values)[1] - value
    below, above = np.mean(own, axis=0) if len(own) == len(points) else (0.0, 0.0)
    counted = [point.n for point in points if point.n is not None]
    low, high = value - max(float(below), over_seeds), value + max(float(above), over_seeds)
    return Point(value, low, high, sum(counted) if counted else None, generation)
