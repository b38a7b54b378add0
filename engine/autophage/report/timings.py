"""Seconds for each stage, arm and generation, and the share of useful work in the wall clock.

Events are the source; without them, the `speed/*_seconds` metrics. A session lasts from `run-start` to its last event.
Time between the sessions of a resumed run is not counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autophage.display import duration
from autophage.report.facts.load import RunFacts
from autophage.report.facts.words import percent
from autophage.report.figures.colours import Style
from autophage.report.figures.panels import Figure, Panel, generation_axis, metric_panel
from autophage.report.figures.planned import RATES, SHARES_OF_LIGHT

STAGES = ("train", "swap", "sample", "measure", "commit")
USEFUL = ("train", "sample", "measure")
"""Stages that a run exists for. Swap, commit, starting and waiting are overhead."""


@dataclass(frozen=True)
class Timings:
    """Measured seconds and tokens of a run.

    `stages` maps (arm, generation) to the seconds of each stage, for the committed attempt. `wall` is the wall clock of
    all sessions, `base` that of the base model's training. `tokens` maps a stage to its tokens.
    """

    stages: dict[tuple[str, int], dict[str, float]]
    wall: float
    base: float
    sessions: int
    tokens: dict[str, int]

    @property
    def useful(self) -> float:
        return sum(seconds for parts in self.stages.values() for stage, seconds in parts.items() if stage in USEFUL)


def timings(facts: RunFacts) -> Timings:
    """Measure the seconds and tokens of each stage from a run's events.

    Without stages in the events, seconds come from metrics.
    """
    sessions = _sessions(facts.events)
    stages: dict[tuple[str, int], dict[str, float]] = {}
    tokens: dict[tuple[str, int, str], int] = {}
    for event in facts.events:
        key = _stage_key(event) if event.get("kind") == "stage-end" else None
        if key is not None:
            arm, generation, stage = key
            stages.setdefault((arm, generation), {})[stage] = _seconds(event.get("seconds"))
            tokens[key] = int(_seconds(event.get("tokens")))
    if not stages:
        stages = _from_metrics(facts)
    total: dict[str, int] = {}
    for (_, _, stage), count in tokens.items():
        total[stage] = total.get(stage, 0) + count
    wall = sum(end - start for start, end in sessions)
    return Timings(stages, wall, _base_seconds(facts.events), len(sessions), total)


def timing_words(measured: Timings) -> list[str]:
    """Return sentences on wall clock, useful work and speed; empty if nothing was timed."""
    words = []
    if measured.wall > 0:
        sessions = f" in {measured.sessions} sessions" if measured.sessions > 1 else ""
        words.append(f"Wall clock: {duration(measured.wall)}{sessions}.")
        busy, base = measured.useful / measured.wall, measured.base / measured.wall
        if busy + base <= 1:
            first = f", the base model {percent(base)}" if base else ""
            words.append(
                f"Training, sampling and measuring of committed generations took {percent(busy)} of it{first}. The remaining "
                f"{percent(1 - busy - base)} is starting, swapping, committing, waiting and repeated work."
            )
        else:
            words.append(
                f"Stages overlapped: {busy:.2f} seconds of training, sampling and measuring per second of wall clock."
            )
    for stage in ("sample", "train"):
        seconds = sum(parts.get(stage, 0.0) for parts in measured.stages.values())
        count = measured.tokens.get(stage, 0)
        if seconds > 0 and count > 0:
            verb = "Sampled" if stage == "sample" else "Trained on"
            words.append(f"{verb} {count:,} tokens at {count / seconds:,.0f} a second.")
    return words


def light_words(facts: RunFacts) -> list[str]:
    """Return a sentence on the median shares of light over all generations; empty if none was measured."""
    found = []
    for name, verb in zip(SHARES_OF_LIGHT, ("sampling", "training"), strict=True):
        points = [point.value for arm in facts.arms for point in facts.metrics.series(arm.name, name)]
        if points:
            found.append(f"{verb} {percent(statistics.median(points))}")
    if not found:
        return []
    return [
        "The model's matrix products alone, as measured on this machine when the run started, would have taken this share of a "
        f"stage's time: {', '.join(found)} (medians of the generations)."
    ]


def timing_figures(facts: RunFacts, measured: Timings, looks: dict[str, Style]) -> list[Figure]:
    """Draw the seconds of each stage as stacked bars, the tokens per second and the shares of light.

    Each arm has its own bars. Figures without data are left out.
    """
    figures = []
    present = [stage for stage in (*STAGES, "other") if any(stage in parts for parts in measured.stages.values())]
    tallest = max((sum(parts.values()) for parts in measured.stages.values()), default=0.0)
    panels = [panel for arm in facts.arms if (panel := _stack(facts, measured, arm.name, present, tallest))]
    if panels:
        legend = [(stage, f"--stage-{stage}") for stage in present]
        figures.append(Figure("stages", "Seconds by stage", panels, legend=legend))
    for key, title, metrics in (("speed", "Tokens per second", RATES), ("light", "Share of light", SHARES_OF_LIGHT)):
        if shown := [metric_panel(facts, looks, name) for name in metrics if facts.metrics.has(name)]:
            figures.append(Figure(key, title, shown))
    return figures


def _stack(facts: RunFacts, measured: Timings, arm: str, present: list[str], tallest: float) -> Panel | None:
    mine = {generation: parts for (name, generation), parts in sorted(measured.stages.items()) if name == arm}
    if not mine:
        return None
    traces: list[dict[str, Any]] = []
    for stage in present:
        seconds = [round(parts.get(stage, 0.0), 3) for parts in mine.values()]
        traces.append(
            {
                "x": list(mine),
                "y": seconds,
                "type": "bar",
                "name": stage,
                "meta": arm,
                "marker": {"color": f"--stage-{stage}"},
                "text": [f"{stage} <b>{duration(value)}</b>" for value in seconds],
                "textposition": "none",
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    axis = generation_axis(facts)
    axis["range"] = [-0.7, axis["range"][1] + 0.5]
    layout = {
        "xaxis": axis, "yaxis": {"range": [0, 1.05 * tallest or 1], "ticksuffix": " s"},
        "barmode": "stack", "bargap": 0.35, "hovermode": "x unified",
    }  # fmt: skip
    return Panel(arm, traces, layout)


def _sessions(events: list[dict[str, Any]]) -> list[tuple[float, float]]:
    sessions: list[tuple[float, float]] = []
    for event in events:
        time = _seconds(event.get("time"))
        if event.get("kind") == "run-start" or not sessions:
            sessions.append((time, time))
        sessions[-1] = (sessions[-1][0], max(sessions[-1][1], time))
    return sessions


def _base_seconds(events: list[dict[str, Any]]) -> float:
    times = [_seconds(event.get("time")) for event in events if event.get("kind") == "base-progress"]
    return max(times) - min(times) if times else 0.0


def _stage_key(event: Mapping[str, Any]) -> tuple[str, int, str] | None:
    arm, generation, stage = event.get("arm"), event.get("generation"), event.get("stage")
    if not isinstance(arm, str) or not isinstance(generation, int) or not isinstance(stage, str):
        return None
    return arm, generation, stage if stage in STAGES else "other"


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _from_metrics(facts: RunFacts) -> dict[tuple[str, int], dict[str, float]]:
    found: dict[tuple[str, int], dict[str, float]] = {}
    for arm in facts.arms:
        for stage in STAGES:
            for point in facts.metrics.series(arm.name, f"speed/{stage}_seconds"):
                found.setdefault((arm.name, point.generation), {})[stage] = point.value
    return found
