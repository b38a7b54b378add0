"""The remedies of a run in words and cells: a sentence each, and the matrix of remedy and metric.

Numbers come from `remedies`; here it is decided how they are said and in which order. Says of every remedy what it does not
do, too: one without an effect stands in the same table as one with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autophage.metrics.retention import HARMS, HOLDS, PART, RULE, Difference
from autophage.report.costs import Cost
from autophage.report.remedies import HELD, ORDER, Beside, Comparison, Outcome
from autophage.report.words import duration, listed, number, percent, plural, shown

BUDGET = 0.05
"""Share by which a remedy's tokens may differ from the naked loop's before the page says that budgets are not equal."""
TITLES = {
    "knowledge/accuracy.head": "head",
    "knowledge/accuracy.torso": "torso",
    "knowledge/accuracy.tail": "tail",
    "fluency/ppl_form": "perplexity of form",
    "fluency/ppl_human": "perplexity of human text",
    "onpolicy/entropy": "entropy",
    "tail/coverage": "tail coverage",
    "drift/kl_to_base": "KL to base",
}
KINDS = {HOLDS: "holds", PART: "part", HARMS: "harms"}
"""Looks of the verdicts; those without one are plain."""
DASH = "\u2013"


@dataclass(frozen=True)
class Cell:
    """`beside` is the difference from the naked loop, bold where `beyond`; `title` that from the control, for the pointer."""

    value: str
    beside: str = ""
    beyond: bool = False
    title: str = ""


@dataclass(frozen=True)
class Row:
    name: str
    arm: str
    verdict: str
    kind: str
    gain: Cell
    cells: list[Cell]


@dataclass(frozen=True)
class RemedyView:
    """What the page shows; `rows` are empty where a run compares no remedies."""

    rule: str
    sentences: list[str]
    columns: list[str]
    rows: list[Row]
    generation: int


def remedy_view(found: Comparison | None) -> RemedyView:
    if found is None:
        return RemedyView(RULE, [], [], [], 0)
    columns = list(found.naked.metrics)
    rows = [_row(found, one, columns) for one in (found.naked, *found.outcomes)]
    for name, means in found.controls.items():
        cells = [Cell(shown(metric, means[metric])) if metric in means else Cell(DASH) for metric in columns]
        retained = [means[metric] for metric in HELD if metric in means]
        value = percent(sum(retained) / len(retained)) if len(retained) == len(HELD) else DASH
        rows.append(Row(_control_name(name), name, "human text alone", "", Cell(value), [*cells, Cell(""), Cell("")]))
    headings = [*(TITLES[name] for name in columns), "tokens", "time"]
    return RemedyView(RULE, _sentences(found), headings, rows, found.generation)


def _control_name(name: str) -> str:
    _, _, remedy = name.partition("_remedy-")
    return f"control of {remedy}" if remedy else "control"


def _row(found: Comparison, one: Outcome, columns: Sequence[str]) -> Row:
    cells = [_cell(metric, one.metrics.get(metric), one is found.naked) for metric in columns]
    gain = Cell(DASH)
    if one.retained:
        gain = Cell(percent(one.retention))
        if one.gains and one is not found.naked:
            gain = Cell(
                gain.value, _points(one.gains[-1]), one.gains[-1].above or one.gains[-1].below, _to_control(one)
            )
    cells += [_tokens(one.cost, found.naked.cost), _time(one.cost, found.naked.cost)]
    name = "naked loop" if one is found.naked else one.name
    return Row(name, one.arm, one.verdict, KINDS.get(one.verdict, ""), gain, cells)


def _cell(metric: str, one: Beside | None, is_naked: bool) -> Cell:
    if one is None:
        return Cell(DASH)
    value = shown(metric, one.value)
    if is_naked or one.naked is None:
        return Cell(value)
    title = "" if one.control is None else f"{_difference(one.control, one.ratio)} beside its control"
    return Cell(value, _difference(one.naked, one.ratio), one.naked.above or one.naked.below, title)


def _to_control(one: Outcome) -> str:
    return f"{_points(one.left[-1])} points below its control" if one.left else ""


def _difference(found: Difference, ratio: bool) -> str:
    return _ratio(found) if ratio else _points(found)


def _points(found: Difference) -> str:
    """`+12.3 (+8.0 to +16.6)`, in percentage points."""
    return _spread(found, lambda value: f"{100 * value:+.1f}")


def _ratio(found: Difference) -> str:
    """`+12% (+8% to +17%)`, of a difference of logarithms."""
    return _spread(found, _growth)


def _growth(value: float) -> str:
    return f"{100 * math.expm1(value):+.0f}%" if value < math.log(10) else f"{math.exp(min(value, 700.0)):.3g} times"


def _spread(found: Difference, words: Callable[[float], str]) -> str:
    if math.isnan(found.low):
        return words(found.value)
    return f"{words(found.value)} ({words(found.low)} to {words(found.high)})"


def _tokens(cost: Cost | None, naked: Cost | None) -> Cell:
    if cost is None:
        return Cell(DASH)
    title = f"{cost.sampled:,} sampled, {cost.trained:,} trained on, {cost.scored:,} scored by others"
    return Cell(number(cost.tokens), _times(cost.tokens, naked.tokens if naked else 0), title=title)


def _time(cost: Cost | None, naked: Cost | None) -> Cell:
    if cost is None or not cost.seconds:
        return Cell(DASH)
    title = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in cost.seconds.items())
    return Cell(duration(cost.time), _times(cost.time, naked.time if naked else 0.0), title=title)


def _times(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f} times" if theirs else ""


def _sentences(found: Comparison) -> list[str]:
    """The verdicts in one sentence, then each remedy in one of its own, then what limits them."""
    own = [_sentence(found, one) for one in found.outcomes if one.verdict]
    return [_summary(found), *own, *_limits(found)]


def summary(found: Comparison | None) -> str:
    """The sentence for the head of the report; empty where nothing was compared."""
    return "" if found is None else _summary(found)


def _summary(found: Comparison) -> str:
    judged = [one for one in found.outcomes if one.verdict]
    if not any(one.gains for one in judged):
        return "Knowledge by bucket was not measured, so that no remedy is judged; the table has what was."
    lost = ""
    if found.lost:
        torso, tail, _ = found.lost
        lost = (
            f"In {plural(found.generation, 'generation')} the naked loop lost {_points(torso)} points of torso and "
            f"{_points(tail)} of tail knowledge beside its control. "
        )
    groups = {kind: [one.name for one in judged if one.verdict == kind] for kind in ORDER}
    parts = [f"{kind}: {listed(names)}" for kind, names in groups.items() if names]
    return f"{lost}Of {plural(len(judged), 'remedy', 'remedies')}, {'; '.join(parts)}."


def _sentence(found: Comparison, one: Outcome) -> str:
    if not one.gains:
        return f"{one.name}: not judged."
    torso, tail, both = one.gains
    words = f"{one.name}: {one.verdict}. Torso {_points(torso)}, tail {_points(tail)} points beside the naked loop"
    whole = found.lost[-1].value if found.lost else 0.0
    if whole > 0 and one.verdict in (HOLDS, PART):
        words += f", {percent(max(0.0, both.value / whole))} of what that lost"
    if one.left:
        words += f"; {_to_control(one)}"
    if one.cost is not None and found.naked.cost is not None and found.naked.cost.tokens:
        words += f"; {_times(one.cost.tokens, found.naked.cost.tokens)} its tokens"
    return words + "."


def _limits(found: Comparison) -> list[str]:
    told = []
    if found.seeds < 2:
        told.append("One seed shows no effect, whatever the numbers: intervals are over seeds.")
    else:
        told.append(
            f"Intervals are over {found.seeds} seeds, each for itself: of remedies that change nothing, one in forty would seem "
            "to gain and one in forty to harm."
        )
    naked = found.naked.cost
    unequal = [
        f"{one.name} ({_times(one.cost.tokens, naked.tokens)})"
        for one in found.outcomes
        if one.cost is not None and naked is not None and naked.tokens
        if abs(one.cost.tokens / naked.tokens - 1) > BUDGET
    ]
    if unequal:
        told.append(f"Not at the naked loop's budget of tokens: {listed(unequal)}.")
    return told
