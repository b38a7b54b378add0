"""Findings of the run, as sentences made from its numbers.

A change counts only if the 95% intervals do not overlap. A sentence about any other change states the overlap. Each
sentence names the metric, the size of the change, and the arm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autophage.display import listed, plural
from autophage.recipe.schedule import alpha_final, is_always
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.series import Metrics, Point, apart
from autophage.report.facts.words import change, number, percent, shown
from autophage.report.figures.panels import theory_of
from autophage.report.learners.stories import NAMES as LEARNER_NAMES
from autophage.report.learners.stories import story

FULL_SENTENCES = 4
"""Most arms of a kind with a sentence of their own. The table has all arms."""

KNOWLEDGE = ("knowledge/accuracy.torso", "knowledge/accuracy")
FLUENCY = {"fluency/ppl_form": "Perplexity of form", "fluency/ppl_human": "Perplexity of human text"}
"""Metrics of fluency beside knowledge, the first that was measured, with their words."""
TEXT_METRICS = ("fluency/ppl_human", "onpolicy/entropy", "text/distinct_2")
NAMES = {
    "fluency/ppl_human": "perplexity of held-out human text",
    "onpolicy/entropy": "entropy of its own text",
    "text/distinct_2": "share of distinct bigrams",
    **LEARNER_NAMES,
}


@dataclass(frozen=True)
class Finding:
    """One or two sentences of the report about one arm. `arm` is None if they are about the run."""

    arm: str | None
    text: str


def findings(facts: RunFacts) -> list[Finding]:
    """Return the sentences at the top of the report, on the change in each arm; never empty."""
    metric = _knowledge(facts)
    tell: Callable[[RunFacts, ArmFacts], str] = _text_finding
    if metric is not None:
        tell = _knowledge_finding
    found = [Finding(arm.name, text) for arm in facts.treated[:FULL_SENTENCES] if (text := tell(facts, arm))]
    found += [Finding(arm.name, text) for arm in facts.controls[:FULL_SENTENCES] if (text := _control(facts, arm))]
    hidden = max(0, len(facts.treated) - FULL_SENTENCES)
    if hidden:
        found.append(Finding(None, f"{plural(hidden, 'more arm')}: see the table of headline metrics."))
    return found or [Finding(None, "Nothing has been measured yet: no generation is committed.")]


def knowledge_metric(metrics: Metrics) -> str | None:
    """Return the name of the accuracy metric that the report's sentences tell.

    It covers people of medium frequency, else all people. The result is None if neither was measured.
    """
    return next((name for name in KNOWLEDGE if metrics.has(name)), None)


def _knowledge(facts: RunFacts) -> str | None:
    """Return the name of the accuracy metric that sentences tell; None if they tell other metrics."""
    return None if story(facts.recipe) else knowledge_metric(facts.metrics)


def _told(facts: RunFacts) -> tuple[str, ...]:
    """Return the names of the metrics that sentences tell if they do not tell accuracy."""
    own = story(facts.recipe)
    return own.told if own else TEXT_METRICS


def _questions(metric: str) -> str:
    return "torso questions" if metric.endswith(".torso") else "questions"


def _knowledge_finding(facts: RunFacts, arm: ArmFacts) -> str:
    metrics, metric = facts.metrics, knowledge_metric(facts.metrics) or KNOWLEDGE[0]
    last = metrics.last(arm.name, metric)
    if last is None:
        return ""
    ends = metrics.ends(arm.name, metric)
    if ends is None:
        return _only_start(arm.name, last, f"answers {percent(last.value)} of {_questions(metric)} correctly")
    start, end = ends
    sentence = (
        f"After {plural(end.generation, 'generation')} on {_diet(arm)}, {arm.name} answers {percent(end.value)} of "
        f"{_questions(metric)} correctly (generation 0: {percent(start.value)}{_hedge(start, end)})."
    )
    fluency = next((name for name in FLUENCY if metrics.has(name)), None)
    form = metrics.ends(arm.name, fluency) if fluency else None
    if fluency is None or form is None:
        return sentence
    before, after = form[0].value, form[1].value
    moved = f"{number(before)} \u2192 {number(after)} ({change(fluency, before, after)}{_hedge(*form)})"
    return f"{sentence} {FLUENCY[fluency]}: {moved}."


def _text_finding(facts: RunFacts, arm: ArmFacts) -> str:
    lasts = {metric: last for metric in _told(facts) if (last := facts.metrics.last(arm.name, metric)) is not None}
    moves = _text_moves(facts, arm)
    if moves:
        reached = max(last.generation for last in lasts.values())
        return f"After {plural(reached, 'generation')} on {_diet(arm)}, {arm.name}: {listed(moves)}."
    if not lasts:
        return ""
    values = [f"{NAMES[metric]} {shown(metric, last.value)}" for metric, last in lasts.items()]
    return _only_start(arm.name, next(iter(lasts.values())), f"starts with {listed(values)}")


def _text_moves(facts: RunFacts, arm: ArmFacts) -> list[str]:
    """Return the changes of an arm's metrics, such as `perplexity of held-out human text 14.0 -> 20.7 (+48%)`.

    Metrics that were not measured at both ends are left out.
    """
    moves = []
    for metric in _told(facts):
        ends = facts.metrics.ends(arm.name, metric)
        if ends is not None:
            start, end = ends
            moved = f"{shown(metric, start.value)} \u2192 {shown(metric, end.value)}"
            expected = facts.metrics.at(arm.name, theory_of(metric), end.generation)
            theory = "" if expected is None else f"; closed form {shown(metric, expected.value)}"
            moves.append(
                f"{NAMES[metric]} {moved} ({change(metric, start.value, end.value)}{_hedge(start, end)}{theory})"
            )
    return moves


def _control(facts: RunFacts, arm: ArmFacts) -> str:
    metric = _knowledge(facts)
    who = f"{_the_control(facts, arm)}, trained the same way on human {'data' if story(facts.recipe) else 'text'}"
    if metric is None:
        moves = _text_moves(facts, arm)
        return f"{who}: {listed(moves)}." if moves else ""
    ends = facts.metrics.ends(arm.name, metric)
    if ends is None:
        return ""
    start, end = ends
    before = f"generation 0: {percent(start.value)}{_hedge(start, end)}"
    return f"{who}, answers {percent(end.value)} correctly after {plural(end.generation, 'generation')} ({before})."


def _the_control(facts: RunFacts, arm: ArmFacts) -> str:
    return "The control arm" if len(facts.controls) == 1 else f"The control arm {arm.name}"


def _diet(arm: ArmFacts) -> str:
    recipe = arm.recipe
    own = story(recipe) if recipe is not None else None
    writes = own.writes if own else "text"
    if recipe is None or is_always(recipe, 1.0):
        return f"its own {writes}"
    first, last = percent(recipe.mix.alpha), percent(alpha_final(recipe))
    share = first if recipe.mix.schedule == "constant" else f"{first} at first and {last} at last"
    return f"a mixture with {share} of its own {writes}"


def _only_start(name: str, point: Point, says: str) -> str:
    return f"Only generation {point.generation} is measured: {name} {says}. A change needs a second generation."


def _hedge(start: Point, end: Point) -> str:
    """Return a phrase for a change whose intervals overlap or do not exist; else an empty one."""
    separate = apart(start, end)
    if separate is None:
        return "; no interval"
    return "" if separate else "; the 95% intervals overlap"
