"""Observations that help to read the numbers, each shown only if it holds.

They report facts that change the reading of the main figure. Examples are a control that moved, fluency that hid
the loss, the order of forgetting, and an unfinished run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from autophage.display import listed, plural
from autophage.report.facts.catalog import BUCKETS, FORMATS
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.pooling import pooled_seeds
from autophage.report.facts.series import Point, apart
from autophage.report.facts.words import change, percent
from autophage.report.findings import knowledge_metric
from autophage.report.learners.stories import story

FLUENT = 0.2
"""Largest relative rise of the perplexity of form at which an arm counts as fluent. A reader would hardly notice it."""
CONFOUNDED = "Effects of synthetic text cannot be separated from effects of training."
NAMED = 4
"""Most arms that an observation names. The rest are counted."""


def observations(facts: RunFacts) -> list[str]:
    """Return sentences that help to read the numbers of a run, in reading order; never empty."""
    rules: list[Callable[[RunFacts], list[str]]] = [
        _state,
        _guesses,
        _control_moved,
        _same_as_control,
        _fluency_hid_the_loss,
        _order_of_forgetting,
        _confidently_wrong,
        _format_decides,
        _compliance,
        _left_out,
        _chains,
    ]
    return [text for rule in rules for text in rule(facts)] + [_intervals(facts)]


def _several(items: list[str]) -> str:
    """Join items as `a, b and c`. Items after the first `NAMED` are only counted."""
    return listed(items if len(items) <= NAMED else [*items[:NAMED], f"{len(items) - NAMED} more"])


def _state(facts: RunFacts) -> list[str]:
    if facts.complete:
        return []
    arms = [arm for arm in facts.arms if arm.recipe is not None]
    reached = [
        f"{arm.name} at {arm.last} of {facts.generations}" if arm.last >= 0 else f"{arm.name} not begun" for arm in arms
    ]
    uneven = " Arms have reached different generations. Compare them at the same generation, not at their last."
    word = "still running" if facts.running else "not finished"
    found = [f"The run is {word} ({_several(reached)}).{uneven if len({arm.last for arm in arms}) > 1 else ''}"]
    last = facts.events[-1] if facts.events else {}
    if last.get("kind") in ("failed", "interrupted"):
        found.append(f"Its last event: {last['kind']}, {last.get('error') or last.get('reason') or 'no reason given'}.")
    return found


def _main_metric(facts: RunFacts) -> str:
    own = story(facts.recipe)
    return own.told[0] if own else knowledge_metric(facts.metrics) or "fluency/ppl_human"


def _clear_changes(facts: RunFacts, arms: list[ArmFacts], metric: str) -> Iterator[tuple[ArmFacts, Point, Point]]:
    """Yield arm, start and end for each arm whose `metric` changed beyond both intervals.

    The start is its point at generation 0, the end that at its last generation.
    """
    for arm in arms:
        ends = facts.metrics.ends(arm.name, metric)
        if ends is not None and apart(*ends):
            yield arm, *ends


def _guesses(facts: RunFacts) -> list[str]:
    """Say of which places model 0 knows nothing. Retention is left out there, by `metrics.places`."""
    found = []
    for arm in facts.arms:
        asked = [one for one in BUCKETS if facts.metrics.at(arm.name, f"knowledge/accuracy.{one}", 0) is not None]
        guessed = [one for one in asked if facts.metrics.at(arm.name, f"knowledge/retention.{one}", 0) is None]
        if facts.recipe.questions.kind == "places" and guessed:
            found.append(f"{arm.name} ({listed(guessed)})")
    if not found:
        return []
    return [
        f"Model 0 only guesses about some classes of places: {_several(found)}. There is nothing to lose there, and no retention."
    ]


def _control_moved(facts: RunFacts) -> list[str]:
    if not facts.controls:
        return [f"There is no control arm. {CONFOUNDED}"]
    metric = _main_metric(facts)
    if facts.metrics.arms and not any(facts.metrics.ends(arm.name, metric) for arm in facts.controls):
        return [f"No control has been measured beyond generation 0 yet. {CONFOUNDED}"]
    moved = [
        f"{arm.name} by {change(metric, start.value, end.value)}"
        for arm, start, end in _clear_changes(facts, facts.controls, metric)
    ]
    if not moved:
        return []
    return [
        f"The control moved too ({_several(moved)}), beyond its intervals. Part of the change in the other arms is an effect of "
        "training, not of synthetic text. Compare them with the control, not with generation 0."
    ]


def _same_as_control(facts: RunFacts) -> list[str]:
    metric, alike = _main_metric(facts), []
    for arm in facts.treated:
        control, last = facts.control_of(arm), facts.metrics.last(arm.name, metric)
        if control is None or last is None or last.generation == 0:
            continue
        other = facts.metrics.at(control.name, metric, last.generation)
        if other is not None and apart(last, other) is False:
            alike.append(f"{arm.name} (generation {last.generation})")
    if not alike:
        return []
    return [f"This run shows no difference from the control for {_several(alike)}: the intervals overlap."]


def _fluency_hid_the_loss(facts: RunFacts) -> list[str]:
    metric = knowledge_metric(facts.metrics)
    fluent: list[str] = []
    broken: list[str] = []
    for arm, start, end in _clear_changes(facts, facts.treated, metric) if metric else ():
        form = facts.metrics.ends(arm.name, "fluency/ppl_form")
        if form is not None and end.value < start.value:
            rise = form[1].value / form[0].value - 1
            points = f"{100 * (start.value - end.value):.0f} points of accuracy lost"
            text = f"{arm.name} ({points}, perplexity of form {100 * rise:+.0f}%)"
            (fluent if rise <= FLUENT else broken).append(text)
    found = []
    if fluent:
        found.append(
            f"Stayed fluent while losing knowledge: {_several(fluent)}. Fluency alone would not reveal the loss."
        )
    if broken:
        found.append(
            f"Lost fluency together with knowledge: {_several(broken)}. The loss is not one of knowledge alone."
        )
    return found


def _order_of_forgetting(facts: RunFacts) -> list[str]:
    told = []
    for arm in facts.treated:
        times: dict[int, list[str]] = {}
        for bucket in BUCKETS:
            generation = _left_start(facts, arm, f"knowledge/accuracy.{bucket}")
            if generation is not None:
                times.setdefault(generation, []).append(bucket)
        if times:
            steps = [f"{listed(buckets)} at generation {generation}" for generation, buckets in sorted(times.items())]
            told.append(f"in {arm.name}, {listed(steps)}")
    if not told:
        return []
    rest = f"; {len(told) - NAMED} more arms in the figure" if len(told) > NAMED else ""
    return [f"Accuracy first fell below its interval of generation 0: {'; '.join(told[:NAMED])}{rest}."]


def _left_start(facts: RunFacts, arm: ArmFacts, metric: str) -> int | None:
    """Return the first generation at which a metric's interval lies wholly below that of generation 0.

    If there is none, the result is None.
    """
    start = facts.metrics.at(arm.name, metric, 0)
    for point in facts.metrics.series(arm.name, metric):
        if start is not None and point.value < start.value and apart(start, point):
            return point.generation
    return None


def _confidently_wrong(facts: RunFacts) -> list[str]:
    found = [
        f"{arm.name} ({percent(start.value)} \u2192 {percent(end.value)} of probes)"
        for arm, start, end in _clear_changes(facts, facts.treated, "knowledge/confidently_wrong")
        if end.value > start.value
    ]
    if not found:
        return []
    return [
        f"Confidently wrong answers became more frequent in {_several(found)}. Confidence does not warn of the loss."
    ]


def _format_decides(facts: RunFacts) -> list[str]:
    found = []
    for arm in facts.treated:
        last = {name: facts.metrics.last(arm.name, f"knowledge/accuracy.{name}") for name in FORMATS}
        points = {name: point for name, point in last.items() if point is not None and point.generation > 0}
        if len(points) < 2:
            continue
        low, high = min(points, key=lambda name: points[name].value), max(points, key=lambda name: points[name].value)
        if apart(points[low], points[high]):
            found.append(
                f"{arm.name} answers {percent(points[low].value)} of {low} probes and {percent(points[high].value)} of {high} "
                "probes"
            )
    return [f"The question format matters: {_several(found)} correctly."] if found else []


def _compliance(facts: RunFacts) -> list[str]:
    found = [
        f"{arm.name} ({percent(start.value)} \u2192 {percent(end.value)})"
        for arm, start, end in _clear_changes(facts, facts.treated, "format/compliance")
        if end.value < start.value
    ]
    return (
        [
            f"Format compliance fell in {_several(found)}. Part of the lost accuracy may be lost form, not lost knowledge."
        ]
        if found
        else []
    )


def _left_out(facts: RunFacts) -> list[str]:
    count = facts.metrics.left_out
    if not count:
        return []
    be, them = ("is", "it") if count == 1 else ("are", "them")
    return [f"{plural(count, 'value')} {be} not finite. Figures and tables leave {them} out. The CSV contains {them}."]


def _chains(facts: RunFacts) -> list[str]:
    """Return sentences on breaks in provenance; empty without one.

    A break is a parent that is not the previous generation, or a change of package versions.
    """
    found = []
    for arm in facts.arms:
        broken = [m.generation for m, parent in zip(arm.manifests[1:], arm.hashes, strict=False) if m.parent != parent]
        if broken:
            found.append(
                f"{arm.name}: the recorded parent of generation {broken[0]} is not the generation before it. "
                "Run `autophage verify`."
            )
    versions = {tuple(sorted(m.versions.items())) for arm in facts.arms for m in arm.manifests}
    if len(versions) > 1:
        found.append("Package versions changed during the run. See Provenance before you compare its generations.")
    return found


def _intervals(facts: RunFacts) -> str:
    seeds = pooled_seeds(facts)
    if seeds:
        return (
            f"Intervals are 95%, over {len(seeds)} seeds or over the measured items, whichever is wider. They do not cover the "
            "variation between base models."
        )
    return (
        "Intervals are 95%, over the items measured within this run. The run has one seed, so they do not cover the variation "
        "between seeds."
    )
