"""Content of a run in the form that trackers take: an arm, its committed generations, curves and samples.

These are plain values. `reading` makes them from the files of a run, and `sinks` sends them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autophage.recipe.arms import Arm
from autophage.recipe.keys import REMEDIES, SWEEP
from autophage.recipe.resolved import flat
from autophage.recipe.syntax.literals import toml_value
from autophage.store.manifest import Metric

LOW, HIGH = ".low", ".high"
"""Endings of the names under which the bounds of an interval are sent, such as onpolicy/entropy.low."""
CURVE = "train/"
"""Beginning of the names of statistics of training steps, such as train/loss."""
DIGITS = 6
APART = (f"{SWEEP}.", f"{REMEDIES}.", "track.")
"""Keys that an arm's settings do not have: they describe other arms, or no arm."""

SettingValue = bool | int | float | str


@dataclass(frozen=True)
class TrackedArm:
    """One arm, which is one run of a tracker.

    `id` has 16 hex digits. It follows from the run and the arm, so that a resumed run continues the same tracker run.
    `settings` maps dotted keys of the recipe to values. `tags` are a few words that describe the arm.
    """

    id: str
    name: str
    group: str
    settings: Mapping[str, SettingValue]
    tags: Mapping[str, str]

    @property
    def label(self) -> str:
        """Name of the tracker run. It differs between runs that share a group."""
        return f"{self.name} {self.tags['run']}"


@dataclass(frozen=True)
class CurveRow:
    """Statistics of one training step. `step` counts the optimizer steps of an arm over all its generations."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class MadeGeneration:
    """Content of one committed generation for a tracker.

    `time` is that of the commit, in seconds since the epoch. `values` maps names of metrics to values, and their bounds.
    `samples` are rows for a table.
    """

    arm: str
    generation: int
    time: float
    values: Mapping[str, float]
    curve: Sequence[CurveRow] = ()
    samples: Sequence[Mapping[str, Any]] = field(default_factory=list)


def identity(first_event: Mapping[str, Any]) -> str:
    """Return the identity of a run: 16 hex digits that follow from the first event of its history.

    The event has the moment of the start in milliseconds. The identity is the same after a resume and in a copy.
    """
    words = "\n".join(f"{name}={first_event[name]!r}" for name in sorted(first_event))
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def tracked_arm(arm: Arm, run: str, group: str | None) -> TrackedArm:
    """Return an arm as a tracker run.

    Args:
        run: Identity of the run.
        group: Group that the recipe names, if it names one.
    """
    short = run[:DIGITS]
    digest = hashlib.sha256(f"{run}/{arm.name}".encode()).hexdigest()[:16]
    tags = {"run": short, "arm": arm.name, "control": str(arm.control).lower()}
    return TrackedArm(digest, arm.name, group or f"{arm.recipe.name}-{short}", _settings(arm), tags)


def _settings(arm: Arm) -> dict[str, SettingValue]:
    kept = {key: value for key, value in flat(arm.recipe).items() if value is not None and not key.startswith(APART)}
    return {key: value if isinstance(value, SettingValue) else toml_value(value) for key, value in kept.items()}


def metric_values(metrics: Iterable[Metric]) -> dict[str, float]:
    """Return metrics and the bounds of their intervals by name. Values that are not finite are left out."""
    found: dict[str, float] = {}
    for metric in metrics:
        named = {"": metric.value, LOW: metric.low, HIGH: metric.high}
        found |= {f"{metric.metric}{end}": value for end, value in named.items() if value is not None}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def curve_rows(columns: Mapping[str, Sequence[float]], before: int) -> list[CurveRow]:
    """Return the statistics of a generation's training steps, in order. Values that are not finite are left out.

    Args:
        columns: Name of a statistic to its value in each step.
        before: Optimizer steps of the earlier generations of the arm.
    """
    rows = zip(*columns.values(), strict=True)
    named = [{f"{CURVE}{name}": value for name, value in zip(columns, row, strict=True)} for row in rows]
    return [
        CurveRow(before + place, {name: float(value) for name, value in row.items() if math.isfinite(value)})
        for place, row in enumerate(named, start=1)
    ]
