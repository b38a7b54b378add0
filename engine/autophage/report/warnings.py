"""Which metric left the control's spread first, per arm and ranked over arms: sentences, a table, and plain values.

Pure: `RunFacts` in. The rule is `metrics.warning`'s; here it is decided which metrics are asked (every one that is not
of a single answer format or subject of questions, and none of speed), which control an arm is held against, and how it is said.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from autophage.display import listed, plural
from autophage.metrics.warning import FALSE, STAY, EarlyWarning, MetricSeries, early_warnings, ranked
from autophage.report.facts.catalog import FORMATS, describe, split
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.table import DASH, TableCell, TableRow

NAMED = {
    "onpolicy/entropy": "entropy",
    "text/distinct_2": "distinct bigrams",
    "knowledge/accuracy.torso": "torso accuracy",
    "fluency/ppl_form": "perplexity of form",
    "fluency/ppl_human": "perplexity of human text",
}
"""Metrics of the sentences: one of each kind that people watch."""
SENTENCES = 4
"""Arms that get a sentence; the table has them all."""
RULE = (
    "The first generation from which a metric is outside the control's prediction band at every later one, "
    f"at least {STAY} of them. The band opens with the generations as the control's own steps scatter, is never narrower "
    f"than the intervals, and is so wide that at most {FALSE:.0%} of what fires in an arm is a false alarm, in "
    "expectation. Arrows: above or below the control."
)


@dataclass(frozen=True)
class WarningView:
    """What the page shows: `rows` are the metrics that fired in some arm, earliest first, one cell for each of `arms`."""

    rule: str
    sentences: list[str]
    arms: list[str]
    rows: list[TableRow]
    never: str


def warning_view(facts: RunFacts) -> WarningView:
    warnings = _warnings(facts)
    order = ranked(warnings, facts.generations)
    found = {arm: {one.metric: one for one in mine} for arm, mine in warnings.items()}
    fired = [m for m in order if any(m in mine and mine[m].generation is not None for mine in found.values())]
    rows = [TableRow(_name(metric), [_cell(mine.get(metric)) for mine in found.values()]) for metric in fired]
    never = [_name(metric) for metric in order if metric not in fired]
    sentences = [_sentence(arm, mine) for arm, mine in list(warnings.items())[:SENTENCES]]
    return WarningView(RULE, [text for text in sentences if text], list(warnings), rows, ", ".join(never))


def warning_facts(facts: RunFacts) -> dict[str, Any]:
    """The same as plain values for JSON: warnings of every arm, the metrics ranked over arms, and the rule's numbers."""
    warnings = _warnings(facts)
    return {
        "false_alarms": FALSE,
        "stay": STAY,
        "ranking": ranked(warnings, facts.generations),
        "arms": {arm: [asdict(one) for one in mine] for arm, mine in warnings.items()},
    }


def _warnings(facts: RunFacts) -> dict[str, list[EarlyWarning]]:
    # What gates let through is what was done about collapse, and no sign of it.
    asked = [
        name
        for name in facts.metrics.names
        if not name.startswith(("speed/", "theory/", "gate/")) and not _of_a_format(name)
    ]
    found = {}
    for arm in facts.treated:
        series = _series(facts, arm, asked)
        if series:
            control = facts.control_of(arm)
            twins = [_series(facts, twin, asked) for twin in _twins(facts, control)]
            found[arm.name] = early_warnings(series, None if control is None else _series(facts, control, asked), twins)
    return found


def _of_a_format(metric: str) -> bool:
    base, suffixes = split(metric)
    # Of questions the overall values alone: subjects may be dozens, and `always_one` is no model's.
    if base.startswith("questions/"):
        return bool(suffixes) or base == "questions/always_one"
    return any(suffix in FORMATS for suffix in suffixes)


def _series(facts: RunFacts, arm: ArmFacts, asked: list[str]) -> dict[str, MetricSeries]:
    found: dict[str, MetricSeries] = {}
    for metric in asked:
        if points := facts.metrics.series(arm.name, metric):
            found[metric] = {point.generation: point for point in points}
    return found


def _twins(facts: RunFacts, control: ArmFacts | None) -> list[ArmFacts]:
    """Other controls that differ from `control` in their seed and nothing else."""
    own = _without_seed(control)
    if control is None or own is None:
        return []
    return [one for one in facts.controls if one.name != control.name and _without_seed(one) == own]


def _without_seed(arm: ArmFacts | None) -> dict[str, Any] | None:
    return None if arm is None or arm.recipe is None else {**arm.recipe.model_dump(), "seed": None}


def _cell(warning: EarlyWarning | None) -> TableCell:
    if warning is None or not warning.judged:
        return TableCell(DASH, look="within")
    if warning.generation is None:
        return TableCell("never", look="within")
    arrow = "\u2191" if warning.direction > 0 else "\u2193"
    return TableCell(f"{warning.generation} {arrow}")


def _sentence(arm: str, warnings: list[EarlyWarning]) -> str:
    """`In alpha-1.0, entropy saw it at generation 2, torso accuracy at 4; perplexity of human text never did.`"""
    judged = [one for one in warnings if one.judged]
    if not judged:
        reasons = listed(sorted({one.reason for one in warnings}))
        return f"{arm} cannot be told from its control yet: {reasons}."
    fired = [one for one in judged if one.generation is not None]
    if not fired:
        return f"In {arm}, none of {plural(len(judged), 'metric')} left the control's spread and stayed outside."
    named = [one for one in judged if one.metric in NAMED]
    saw: dict[int, list[str]] = {}
    for one in named:
        if one.generation is not None:
            saw.setdefault(one.generation, []).append(NAMED[one.metric])
    never = [NAMED[one.metric] for one in named if one.generation is None]
    parts = [f"{listed(names)} saw it at generation {when}" for when, names in saw.items()]
    parts = [part if place == 0 else part.replace("saw it at generation", "at") for place, part in enumerate(parts)]
    told = ", ".join(parts) + ("; " if parts and never else "") + (f"{listed(never)} never did" if never else "")
    first = [_name(one.metric) for one in fired if one.generation == fired[0].generation]
    earliest = f"Earliest of {len(judged)} metrics, at generation {fired[0].generation}: {listed(_few(first))}."
    return f"In {arm}, {told}. {earliest}" if told else f"In {arm}: {earliest}"


def _name(metric: str) -> str:
    """`Accuracy (torso)`: a label that can stand in a list."""
    base, suffixes = split(metric)
    return describe(base).label + (f" ({', '.join(suffixes)})" if suffixes else "")


def _few(names: list[str]) -> list[str]:
    return names if len(names) <= SENTENCES else [*names[:SENTENCES], f"{len(names) - SENTENCES} more"]
