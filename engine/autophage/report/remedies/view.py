"""The remedies of a run in words and cells: a sentence each, and the matrix of remedy and metric.

Numbers come from `remedies`; here it is decided how they are said and in which order. Says of every remedy what it does not
do, too: one without an effect stands in the same table as one with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autophage.metrics.retention import HARMS, HOLDS, NONE, PART, RULE, UNJUDGED, Difference
from autophage.report.facts.catalog import describe
from autophage.report.facts.costs import Cost
from autophage.report.facts.words import duration, listed, number, percent, plural, shown
from autophage.report.remedies.outcomes import DRIFT, HELD, ORDER, Beside, Comparison, Outcome

BUDGET = 0.05
"""Share by which a remedy's tokens may differ from the naked loop's before the page says that budgets are not equal."""
STILL = 1e-3
"""Nats a token from model 0, below which a model is that one."""
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
    """`beside` is the difference from the naked loop, bold where `beyond`; `title` is for the pointer: its interval, and the
    difference from the control."""

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
    cells: list[Cell]


@dataclass(frozen=True)
class RemedyView:
    """What the page shows; `rows` are empty where a run compares no remedies. `limits` say how far the verdicts reach."""

    rule: str
    limits: list[str]
    columns: list[str]
    rows: list[Row]
    generation: int


def remedy_view(found: Comparison | None) -> RemedyView:
    if found is None:
        return RemedyView(RULE, [], [], [], 0)
    columns = list(found.naked.metrics)
    rows = [_row(found, one, columns) for one in (found.naked, *found.outcomes)]
    if found.naked.control is not None:
        rows.append(_control_row(found.naked.control, found.controls[found.naked.control], columns))
    headings = ["torso and tail", "below its control", *(TITLES[name] for name in columns), "tokens", "time"]
    return RemedyView(RULE, _limits(found), headings, rows, found.generation)


def _control_row(name: str, means: dict[str, float], columns: Sequence[str]) -> Row:
    """Human text alone: what there is to hold."""
    cells = [Cell(shown(metric, means[metric])) if metric in means else Cell(DASH) for metric in columns]
    buckets = [means[metric] for metric in HELD if metric in means]
    retained = percent(sum(buckets) / len(HELD)) if len(buckets) == len(HELD) else DASH
    return Row("control", name, "human text alone", "", [Cell(retained), Cell(""), *cells, Cell(""), Cell("")])


def _row(found: Comparison, one: Outcome, columns: Sequence[str]) -> Row:
    cells = [_retention(found, one), _below(one)]
    cells += [_cell(metric, one.metrics.get(metric), one is found.naked) for metric in columns]
    cells += [_tokens(one.cost, found.naked.cost), _time(one.cost, found.naked.cost)]
    name = "naked loop" if one is found.naked else one.name
    return Row(name, one.arm, one.verdict, KINDS.get(one.verdict, ""), cells)


def _retention(found: Comparison, one: Outcome) -> Cell:
    """Torso and tail in their mean; for the pointer how much of the naked loop's loss that is."""
    if not one.retained:
        return Cell(DASH)
    if not one.gains or one is found.naked:
        return Cell(percent(one.retention))
    gain, whole = one.gains[-1], found.lost[-1].value if found.lost else 0.0
    kept = f"; {percent(gain.value / whole)} of what the naked loop lost" if whole > 0 < gain.value else ""
    return Cell(percent(one.retention), _points(gain), gain.above or gain.below, f"{_range(gain)} points{kept}")


def _below(one: Outcome) -> Cell:
    """How far it is below its own control."""
    if not one.left:
        return Cell(DASH)
    left = one.left[-1]
    return Cell(f"{100 * left.value:.1f}", _reach(left), left.above or left.below, f"{_range(left)} points")


def _cell(metric: str, one: Beside | None, is_naked: bool) -> Cell:
    if one is None:
        return Cell(DASH)
    value = shown(metric, one.value)
    if is_naked or one.naked is None:
        return Cell(value)
    is_share = describe(metric).kind == "share"
    written = _growth if one.ratio else _hundredths if is_share else _signed
    title = _range(one.naked, written)
    if one.control is not None:
        title += f"; {_range(one.control, written)} beside its control"
    below = _points(one.naked) if is_share else written(one.naked.value)
    return Cell(value, below, one.naked.above or one.naked.below, title)


def _points(found: Difference) -> str:
    """`+12.3 \u00b1 4.3`, in percentage points; Student's interval is symmetric."""
    return " ".join(part for part in (f"{100 * found.value:+.1f}", _reach(found)) if part)


def _reach(found: Difference) -> str:
    return "" if math.isnan(found.low) else f"\u00b1 {50 * (found.high - found.low):.1f}"


def _hundredths(value: float) -> str:
    return f"{100 * value:+.1f}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"


def _range(found: Difference, written: Callable[[float], str] = _hundredths) -> str:
    """`+12.3 (+8.0 to +16.6)` in points, or `+12% (+8% to +17%)` of a difference of logarithms."""
    parts = [written(one) for one in (found.value, found.low, found.high)]
    return parts[0] if math.isnan(found.low) else f"{parts[0]} ({parts[1]} to {parts[2]})"


def _growth(value: float) -> str:
    return f"{100 * math.expm1(value):+.0f}%" if value < math.log(10) else f"{math.exp(min(value, 700.0)):.3g} times"


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


def summary(found: Comparison) -> str:
    """The verdicts in one sentence, for the head of the report."""
    judged = [one for one in found.outcomes if one.verdict]
    if not any(one.gains for one in judged):
        return "Knowledge by bucket was not measured, so that no remedy is judged; the table has what was."
    lost = ""
    if found.lost:
        torso, tail, _ = found.lost
        lost = (
            f"In {plural(found.generation, 'generation')} the naked loop lost {_plain(torso)} points of torso and {_plain(tail)} "
            "points of tail knowledge, beside a control on human text alone. "
        )
    groups = {kind: [one.name for one in judged if one.verdict == kind] for kind in ORDER}
    parts = [f"{len(names)} {_told(kind, len(names))} ({listed(names)})" for kind, names in groups.items() if names]
    return f"{lost}Of {plural(len(judged), 'remedy', 'remedies')}, {listed(parts)}."


def _told(kind: str, count: int) -> str:
    """A verdict as the verb of a sentence about `count` remedies."""
    one, many = {
        HOLDS: ("holds torso and tail", "hold torso and tail"),
        PART: ("holds part", "hold part"),
        NONE: ("shows no effect", "show no effect"),
        UNJUDGED: ("has nothing to hold", "have nothing to hold"),
        HARMS: ("harms", "harm"),
    }[kind]
    return one if count == 1 else many


def _plain(found: Difference) -> str:
    return f"{100 * found.value:.1f} {_reach(found)}".strip()


def _limits(found: Comparison) -> list[str]:
    told = []
    if found.lost and not found.lost[-1].above:
        told.append("What the naked loop lost is not beyond its own interval: there may be nothing to hold.")
    if found.seeds < 2:
        told.append("One seed shows no effect, whatever the numbers: intervals are over seeds.")
    else:
        told.append(
            f"Intervals are over {found.seeds} seeds, each for itself: of remedies that change nothing, one in forty would seem "
            "to gain and one in forty to harm."
        )
    still = [one.name for one in found.outcomes if DRIFT in one.metrics and abs(one.metrics[DRIFT].value) < STILL]
    if still:
        told.append(
            f"{listed(still)}: {'its last model is' if len(still) == 1 else 'their last models are'} model 0 still (KL to base "
            f"below {STILL:g} nats a token), which keeps what it knew because nothing was learnt."
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
