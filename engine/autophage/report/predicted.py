"""Predicted and actual seconds of each stage and of the whole run.

The run writes its prediction when it begins. A run without one has no such table. The comparison covers equal work.
For an unfinished run these are the stages that are done, for a resumed run one start for each session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autophage.display import duration
from autophage.plan.speeds import cells_seconds
from autophage.report.facts.load import RunFacts
from autophage.report.facts.table import DASH, TableCell, TableRow
from autophage.report.timings import STAGES, Timings

LEAST_SECONDS = 0.05
"""Fewest seconds, predicted or actual, of a stage that is listed. A ratio also needs that many predicted."""


@dataclass(frozen=True)
class Predicted:
    """Table of predicted and actual seconds, one row for each stage.

    The cells are predicted seconds, actual seconds, and actual over predicted. `machine` and `basis` name the predicted
    machine and the origin of its speeds.
    """

    rows: list[TableRow]
    machine: str
    basis: str


def predicted(prediction: Mapping[str, Any] | None, facts: RunFacts, measured: Timings) -> Predicted | None:
    """Compare the predicted seconds of each stage with the actual ones.

    `prediction` is the record that the run wrote when it began. The result is None without one, for one in another
    form, or if nothing has been timed.
    """
    if prediction is None or not measured.stages or measured.wall <= 0:
        return None
    try:
        return _table(prediction, facts, measured)
    except (KeyError, TypeError, ValueError, IndexError):  # another version wrote it in another form
        return None


def _table(prediction: Mapping[str, Any], facts: RunFacts, measured: Timings) -> Predicted | None:
    arms = {arm["name"]: arm["generations"] for arm in prediction["arms"]}
    done: dict[str, list[dict[str, float]]] = {}
    for (arm, generation), stages in measured.stages.items():
        known = arms[arm][generation]
        done.setdefault(arm, []).append({stage: float(known[stage]) for stage in stages if stage in STAGES})
    sessions, started = _starts(facts)
    starts = sessions * float(prediction["start_seconds"])
    base = float(prediction["base_seconds"]) if measured.base else 0.0
    firsts = {stage: sessions * float(prediction["first"].get(stage, 0.0)) for stage in STAGES}
    rows = [_row("start", starts, started - measured.base), _row("base model", base, measured.base)]
    for stage in STAGES:
        foreseen = [
            generation[stage] for generations in done.values() for generation in generations if stage in generation
        ]
        taken = sum(stages.get(stage, 0.0) for stages in measured.stages.values())
        if foreseen:
            rows.append(_row(stage, sum(foreseen) + firsts[stage], taken))
    working = cells_seconds(
        list(done.values()), int(prediction["layout"]["cells"]), overlap=bool(prediction["overlap"])
    )
    rows.append(_row("total", starts + base + sum(firsts.values()) + working, measured.wall))
    kept = [row for row in rows if row is not None]
    return Predicted(kept, str(prediction["machine"]), str(prediction["basis"]))


def _row(stage: str, foreseen: float, taken: float) -> TableRow | None:
    if max(foreseen, taken) < LEAST_SECONDS:
        return None
    ratio = f"{taken / foreseen:.2f}" if foreseen >= LEAST_SECONDS else DASH
    texts = [duration(foreseen), duration(max(0.0, taken)), ratio]
    return TableRow(stage, [TableCell(text) for text in texts])


def _starts(facts: RunFacts) -> tuple[int, float]:
    """Count the sessions that reached a stage, and add up their seconds until the first stage."""
    count, total, begun = 0, 0.0, None
    for event in facts.events:
        time = event.get("time")
        if not isinstance(time, int | float):
            continue
        if event.get("kind") == "run-start":
            begun = float(time)
        elif event.get("kind") == "stage-start" and begun is not None:
            count, total, begun = count + 1, total + float(time) - begun, None
    return count, total
