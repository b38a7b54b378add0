"""The comparison of remedies in words: a summary, a table of remedies and metrics, and its limits.

Numbers come from `outcomes`. Remedies without an effect stand in the same table as the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autophage.display import duration, listed, plural
from autophage.metrics.intervals import Estimate
from autophage.metrics.retention import HARMS, HOLDS, NONE, PART, RULE, UNJUDGED
from autophage.report.facts.catalog import describe
from autophage.report.facts.costs import Cost
from autophage.report.facts.table import DASH, TableCell, TableRow
from autophage.report.facts.words import number, percent, shown
from autophage.report.remedies.outcomes import DRIFT, HELD, ORDER, Beside, Outcome, RemedyComparison

BUDGET = 0.05
"""Relative difference in tokens from the naked loop above which the page says that budgets differ."""
STILL = 1e-3
"""KL from model 0, in nats per token, below which a model counts as model 0."""
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
"""Verdict -> CSS class. Other verdicts look plain."""


@dataclass(frozen=True)
class RemedyView:
    """Content of the report's section on remedies.

    `rows` is empty if a run compares no remedies. `limits` are sentences on the limits of the verdicts.
    """

    rule: str
    limits: list[str]
    columns: list[str]
    rows: list[TableRow]
    generation: int


def remedy_view(found: RemedyComparison | None) -> RemedyView:
    """Build the report's section on remedies from their comparison, if there is one."""
    if found is None:
        return RemedyView(RULE, [], [], [], 0)
    columns = list(found.naked.metrics)
    rows = [_row(found, one, columns) for one in (found.naked, *found.outcomes)]
    if found.naked.control is not None:
        rows.append(_control_row(found.naked.control, found.controls[found.naked.control], columns))
    headings = ["torso and tail", "below its control", *(TITLES[name] for name in columns), "tokens", "time"]
    return RemedyView(RULE, _limits(found), headings, rows, found.generation)


def _control_row(name: str, means: dict[str, float], columns: Sequence[str]) -> TableRow:
    """Return the table row of the control (human text alone) from its mean metrics."""
    cells = [TableCell(shown(metric, means[metric])) if metric in means else TableCell(DASH) for metric in columns]
    buckets = [means[metric] for metric in HELD if metric in means]
    retained = percent(sum(buckets) / len(HELD)) if len(buckets) == len(HELD) else DASH
    empty = TableCell("")
    return TableRow("control", [TableCell("human text alone"), TableCell(retained), empty, *cells, empty, empty], name)


def _row(found: RemedyComparison, one: Outcome, columns: Sequence[str]) -> TableRow:
    verdict = TableCell(one.verdict, look=KINDS.get(one.verdict, ""))
    cells = [verdict, _retention(found, one), _below(one)]
    cells += [_cell(metric, one.metrics.get(metric), one is found.naked) for metric in columns]
    cells += [_tokens(one.cost, found.naked.cost), _time(one.cost, found.naked.cost)]
    name = "naked loop" if one is found.naked else one.name
    return TableRow(name, cells, one.arm)


def _retention(found: RemedyComparison, one: Outcome) -> TableCell:
    """Return the cell with a remedy's mean accuracy in torso and tail.

    Its note is the gain over the naked loop. Its title holds the share of the naked loop's loss that is retained.
    """
    if not one.retained:
        return TableCell(DASH)
    if not one.gains or one is found.naked:
        return TableCell(percent(one.retention))
    gain, whole = one.gains[-1], found.lost[-1].value if found.lost else 0.0
    kept = f"; {percent(gain.value / whole)} of the naked loop's loss" if whole > 0 < gain.value else ""
    return TableCell(percent(one.retention), _points(gain), _look(gain), f"{_range(gain)} points{kept}")


def _below(one: Outcome) -> TableCell:
    """Return the cell with the accuracy that a remedy lacks beside its own control, in points."""
    if not one.left:
        return TableCell(DASH)
    left = one.left[-1]
    return TableCell(f"{100 * left.value:.1f}", _reach(left), _look(left), f"{_range(left)} points")


def _cell(metric: str, one: Beside | None, is_naked: bool) -> TableCell:
    if one is None:
        return TableCell(DASH)
    value = shown(metric, one.value)
    if is_naked or one.naked is None:
        return TableCell(value)
    is_share = describe(metric).kind == "share"
    written = _growth if one.ratio else _hundredths if is_share else _signed
    title = _range(one.naked, written)
    if one.control is not None:
        title += f"; {_range(one.control, written)} compared with its control"
    below = _points(one.naked) if is_share else written(one.naked.value)
    return TableCell(value, below, _look(one.naked), title)


def _look(found: Estimate) -> str:
    """Return the CSS class of a difference: `beyond` if its interval excludes 0, else `within`."""
    return "beyond" if found.above or found.below else "within"


def _points(found: Estimate) -> str:
    """Format a difference of shares as `+12.3 ± 4.3` in percentage points. Student's interval is symmetric."""
    return " ".join(part for part in (f"{100 * found.value:+.1f}", _reach(found)) if part)


def _reach(found: Estimate) -> str:
    return "" if math.isnan(found.low) else f"\u00b1 {50 * (found.high - found.low):.1f}"


def _hundredths(value: float) -> str:
    return f"{100 * value:+.1f}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"


def _range(found: Estimate, written: Callable[[float], str] = _hundredths) -> str:
    """Format a difference with its interval: `+12.3 (+8.0 to +16.6)`, without the interval if there is none.

    `written` formats each number, in points by default.
    """
    parts = [written(one) for one in (found.value, found.low, found.high)]
    return parts[0] if math.isnan(found.low) else f"{parts[0]} ({parts[1]} to {parts[2]})"


def _growth(value: float) -> str:
    return f"{100 * math.expm1(value):+.0f}%" if value < math.log(10) else f"{math.exp(min(value, 700.0)):.3g} times"


def _tokens(cost: Cost | None, naked: Cost | None) -> TableCell:
    if cost is None:
        return TableCell(DASH)
    title = f"{cost.sampled:,} sampled, {cost.trained:,} trained on, {cost.scored:,} scored"
    return TableCell(number(cost.tokens), _times(cost.tokens, naked.tokens if naked else 0), title=title)


def _time(cost: Cost | None, naked: Cost | None) -> TableCell:
    if cost is None or not cost.seconds:
        return TableCell(DASH)
    title = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in cost.seconds.items())
    return TableCell(duration(cost.time), _times(cost.time, naked.time if naked else 0.0), title=title)


def _times(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f} times" if theirs else ""


def summary(found: RemedyComparison) -> str:
    """Return the verdicts on all remedies in one paragraph, for the head of the report."""
    judged = [one for one in found.outcomes if one.verdict]
    if not any(one.gains for one in judged):
        return "Knowledge by bucket was not measured, so no remedy is judged. The table shows the other metrics."
    lost = ""
    if found.lost:
        torso, tail, _ = found.lost
        lost = (
            f"Compared with a control on human text alone, the naked loop lost {_plain(torso)} points of torso and "
            f"{_plain(tail)} points of tail knowledge in {plural(found.generation, 'generation')}. "
        )
    groups = {kind: [one.name for one in judged if one.verdict == kind] for kind in ORDER}
    parts = [f"{len(names)} {_told(kind, len(names))} ({listed(names)})" for kind, names in groups.items() if names]
    return f"{lost}Of {plural(len(judged), 'remedy', 'remedies')}, {listed(parts)}."


def _told(kind: str, count: int) -> str:
    """Return a verdict as the verb of a sentence about `count` remedies."""
    one, many = {
        HOLDS: ("holds torso and tail", "hold torso and tail"),
        PART: ("holds part", "hold part"),
        NONE: ("shows no effect", "show no effect"),
        UNJUDGED: ("has nothing to hold", "have nothing to hold"),
        HARMS: ("harms", "harm"),
    }[kind]
    return one if count == 1 else many


def _plain(found: Estimate) -> str:
    return f"{100 * found.value:.1f} {_reach(found)}".strip()


def _limits(found: RemedyComparison) -> list[str]:
    told = []
    if found.lost and not found.lost[-1].above:
        told.append("The naked loop shows no loss, so there may be nothing for a remedy to hold.")
    if found.seeds < 2:
        told.append("With one seed no effect can be shown, because intervals are over seeds.")
    else:
        told.append(
            f"Intervals are over {found.seeds} seeds and are not adjusted for the number of remedies. Of remedies without "
            "effect, one in forty would appear to gain and one in forty to harm."
        )
    still = [one.name for one in found.outcomes if DRIFT in one.metrics and abs(one.metrics[DRIFT].value) < STILL]
    if still:
        told.append(
            f"{listed(still)}: the last model still equals model 0 (KL to base below {STILL:g} nats per token). It keeps its "
            "knowledge because it learnt nothing."
        )
    naked = found.naked.cost
    unequal = [
        f"{one.name} ({_times(one.cost.tokens, naked.tokens)})"
        for one in found.outcomes
        if one.cost is not None and naked is not None and naked.tokens
        if abs(one.cost.tokens / naked.tokens - 1) > BUDGET
    ]
    if unequal:
        told.append(f"Token budgets that differ from the naked loop's: {listed(unequal)}.")
    return told
