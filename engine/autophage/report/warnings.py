"""Early warning in the report: the metric that left the control's spread first, by arm and ranked over arms.

`metrics.warning` holds the rule. This module selects the metrics, each arm's control, and the words. Metrics of speed,
of a single answer format and of a subject of questions are left out.
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
"""Metrics that sentences name, with their words: one of each kind that is commonly watched."""
SENTENCES = 4
"""Most arms with a sentence, and most metrics in a list. The table has all arms."""
RULE = (
    "A metric warns at the first generation from which it stays outside the control's prediction band, for at least "
    f"{STAY} generations. The band widens with the generations, by the scatter of the control's own steps. It is never narrower "
    f"than the 95% intervals. In expectation, at most {FALSE:.0%} of the warnings in an arm are false alarms. Arrows show the "
    "side of the control on which the metric lies."
)


@dataclass(frozen=True)
class WarningView:
    """Content of the report's section on early warnings.

    `rows` are the metrics that warned in some arm, earliest first. Each has one cell for each of `arms`. `never` names
    the metrics that did not warn.
    """

    rule: str
    sentences: list[str]
    arms: list[str]
    rows: list[TableRow]
    never: str


def warning_view(facts: RunFacts) -> WarningView:
    """Build the report's section on early warnings from the metrics of a run."""
    warnings = _warnings(facts)
    order = ranked(warnings, facts.generations)
    found = {arm: {one.metric: one for one in mine} for arm, mine in warnings.items()}
    fired = [m for m in order if any(m in mine and mine[m].generation is not None for mine in found.values())]
    rows = [TableRow(_name(metric), [_cell(mine.get(metric)) for mine in found.values()]) for metric in fired]
    never = [_name(metric) for metric in order if metric not in fired]
    sentences = [_sentence(arm, mine) for arm, mine in list(warnings.items())[:SENTENCES]]
    return WarningView(RULE, [text for text in sentences if text], list(warnings), rows, ", ".join(never))


def warning_facts(facts: RunFacts) -> dict[str, Any]:
    """Return warnings by arm, the ranking of metrics, and the rule's numbers, as plain values."""
    warnings = _warnings(facts)
    return {
        "false_alarms": FALSE,
        "stay": STAY,
        "ranking": ranked(warnings, facts.generations),
        "arms": {arm: [asdict(one) for one in mine] for arm, mine in warnings.items()},
    }


def _warnings(facts: RunFacts) -> dict[str, list[EarlyWarning]]:
    # Metrics of gates describe a remedy, not a sign of collapse.
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
            siblings = [_series(facts, sibling, asked) for sibling in _siblings(facts, control)]
            found[arm.name] = early_warnings(
                series, None if control is None else _series(facts, control, asked), siblings
            )
    return found


def _of_a_format(metric: str) -> bool:
    base, suffixes = split(metric)
    # For questions, only overall values: there may be dozens of subjects. `always_one` is not about a model.
    if base.startswith("questions/"):
        return bool(suffixes) or base == "questions/always_one"
    if base.startswith("knowledge/") and len(suffixes) > 1:
        return True
    return any(suffix in FORMATS for suffix in suffixes)


def _series(facts: RunFacts, arm: ArmFacts, asked: list[str]) -> dict[str, MetricSeries]:
    found: dict[str, MetricSeries] = {}
    for metric in asked:
        if points := facts.metrics.series(arm.name, metric):
            found[metric] = {point.generation: point for point in points}
    return found


def _siblings(facts: RunFacts, control: ArmFacts | None) -> list[ArmFacts]:
    """Return the other controls that differ from `control` in their seed and nothing else.

    Without a control there are none.
    """
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
    """Return the early warnings of one arm in words.

    An example is `In alpha-1.0, entropy warned at generation 2, torso accuracy at 4.` If no metric could be judged, the
    sentence gives the reasons.
    """
    judged = [one for one in warnings if one.judged]
    if not judged:
        reasons = listed(sorted({one.reason for one in warnings}))
        return f"{arm} cannot be judged yet: {reasons}."
    fired = [one for one in judged if one.generation is not None]
    if not fired:
        return f"In {arm}, none of {plural(len(judged), 'metric')} left the control's band for good."
    named = [one for one in judged if one.metric in NAMED]
    saw: dict[int, list[str]] = {}
    for one in named:
        if one.generation is not None:
            saw.setdefault(one.generation, []).append(NAMED[one.metric])
    never = [NAMED[one.metric] for one in named if one.generation is None]
    parts = [f"{listed(names)} warned at generation {when}" for when, names in saw.items()]
    parts = [part if place == 0 else part.replace("warned at generation", "at") for place, part in enumerate(parts)]
    silent = f"{_capitalized(listed(never)) if parts else listed(never)} never warned" if never else ""
    told = ". ".join(part for part in (", ".join(parts), silent) if part)
    first = [_name(one.metric) for one in fired if one.generation == fired[0].generation]
    earliest = f"Earliest of {len(judged)} metrics, at generation {fired[0].generation}: {listed(_few(first))}."
    return f"In {arm}, {told}. {earliest}" if told else f"In {arm}: {earliest}"


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _name(metric: str) -> str:
    """Return the label of a metric for a list, such as `Accuracy (torso)`."""
    base, suffixes = split(metric)
    return describe(base).label + (f" ({', '.join(suffixes)})" if suffixes else "")


def _few(names: list[str]) -> list[str]:
    return names if len(names) <= SENTENCES else [*names[:SENTENCES], f"{len(names) - SENTENCES} more"]
