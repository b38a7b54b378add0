"""Headline metrics of each arm at its first and last generation, as `run` and `status` print them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autophage.display import value
from autophage.live.headline import LABELS, columns
from autophage.store.manifest import committed, read_metrics
from autophage.store.rundir import RunDirectory


@dataclass(frozen=True)
class Headline:
    """Values of one metric of an arm at generation 0 and at its last committed generation."""

    first: float
    last: float

    def __str__(self) -> str:
        return f"{value(self.first)} -> {value(self.last)}"


@dataclass(frozen=True)
class ArmSummary:
    """Headline metrics of an arm, by name of the metric.

    `last` is the arm's last committed generation. It is None if nothing is committed.
    """

    arm: str
    last: int | None
    metrics: dict[str, Headline]


def headlines(run: RunDirectory, arms: Sequence[str]) -> list[ArmSummary]:
    """Return the headline metrics of each arm at its first and last committed generation.

    They come from committed generations, not from events, which a crash may have cut short.
    """
    return [_summary(run, arm) for arm in arms]


def shown_metrics(summaries: Sequence[ArmSummary]) -> list[str]:
    return columns({metric for summary in summaries for metric in summary.metrics})


def headline_lines(summaries: Sequence[ArmSummary]) -> list[str]:
    """Return one line of text per arm: `control  generation 0 -> 5: torso accuracy 0.87 -> 0.86, ...`.

    Arms without headline metrics have no line.
    """
    width = max((len(summary.arm) for summary in summaries), default=0)
    lines = []
    for summary in summaries:
        known = [metric for metric in shown_metrics(summaries) if metric in summary.metrics]
        facts = ", ".join(f"{LABELS[metric]} {summary.metrics[metric]}" for metric in known)
        if summary.last is not None and facts:
            lines.append(f"{summary.arm:<{width}}  generation 0 -> {summary.last}: {facts}")
    return lines


def _summary(run: RunDirectory, arm: str) -> ArmSummary:
    count = len(committed(run, arm))
    if not count:
        return ArmSummary(arm, None, {})
    first, last = (
        {row.metric: row.value for row in read_metrics(run.generation(arm, generation)) if row.metric in LABELS}
        for generation in (0, count - 1)
    )
    shared = [metric for metric in LABELS if metric in first and metric in last]
    return ArmSummary(arm, count - 1, {metric: Headline(first[metric], last[metric]) for metric in shared})
