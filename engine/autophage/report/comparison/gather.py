"""The facts of a comparison, gathered once for terminal, JSON and page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autophage.display import json_ready, plural
from autophage.errors import UserError
from autophage.report.comparison.differences import (
    RULE,
    MetricDifference,
    all_differences,
    common_arms,
    common_last,
    differences,
    headline_differences,
)
from autophage.report.comparison.reading import LETTERS, ComparedRun, read_compared
from autophage.report.comparison.sameness import DIFFERENT, NOTHING, SAME, Sameness, sameness
from autophage.report.comparison.settings import DifferingSetting, differing_settings
from autophage.store.rundir import RunDirectory

VERDICTS = {
    SAME: "the same run as A",
    NOTHING: "nothing to compare with A",
    DIFFERENT: "another run than A",
}


@dataclass(frozen=True)
class ArmDifferences:
    """Differences of all metrics of a run from the first one, in one arm and generation."""

    run: str
    arm: str
    generation: int
    metrics: list[MetricDifference]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. The first is the reference.

    `differences` has an entry for each other run and common arm, at the last generation that both have or at the one that
    was asked for. `same` has an entry for each other run.
    """

    runs: list[ComparedRun]
    settings: list[DifferingSetting]
    differences: list[ArmDifferences]
    same: list[Sameness]

    @property
    def first(self) -> ComparedRun:
        return self.runs[0]

    @property
    def arms(self) -> list[str]:
        """Arms that the first run shares with some other one."""
        return [name for name in self.first.groups if any(name in run.groups for run in self.runs[1:])]

    @property
    def all_same(self) -> bool:
        return all(one.verdict == SAME for one in self.same)


def compare(directories: Sequence[RunDirectory], generation: int | None = None) -> Comparison:
    """Compare two or more runs with the first of them.

    Args:
        generation: Generation of the differences; None is the last one that two runs have in common.

    Raises:
        UserError: There are too few or too many directories, one holds no run, or two runs have nothing in common.
        StoreError: A manifest was changed, or metrics differ from it.
    """
    if not 2 <= len(directories) <= len(LETTERS):
        raise UserError(f"compare takes 2 to {len(LETTERS)} run directories, and was given {len(directories)}.")
    runs = [read_compared(run, letter) for run, letter in zip(directories, LETTERS, strict=False)]
    first, *others = runs
    for other in others:
        if not common_arms(first, other):
            raise UserError(
                f"{other.path}: has no arm in common with {first.path}. Its arms are {', '.join(other.groups) or 'none'}; "
                f"those of {first.path} are {', '.join(first.groups) or 'none'}."
            )
    found = [
        ArmDifferences(other.letter, arm, at, differences(first, other, arm, at))
        for other in others
        for arm in common_arms(first, other)
        if (at := _generation(first, other, arm, generation)) >= 0
    ]
    return Comparison(runs, differing_settings(runs), found, [sameness(first, other) for other in others])


def _generation(first: ComparedRun, other: ComparedRun, arm: str, wanted: int | None) -> int:
    last = common_last(first, other, arm)
    if wanted is None:
        return last
    if not 0 <= wanted <= last:
        has = f"Both have 0 to {last}" if last >= 0 else "They have none in common yet"
        raise UserError(
            f"--generation {wanted}: {first.path} and {other.path} do not both have it in arm {arm}. {has}."
        )
    return wanted


def run_line(run: ComparedRun) -> str:
    """Return a run in one line: recipe, seeds, state, versions, machine."""
    seeds = sorted({arm.seed for arm in run.arms if arm.seed is not None})
    parts = [run.name, f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" if seeds else "", run.state]
    parts += [plural(len(run.arms), "arm"), f"autophage {run.version}"]
    commit, device = run.environment.get("git"), run.environment.get("model", {}).get("device")
    parts += [f"commit {str(commit)[:10]}" if commit else "", f"on {device}" if device else ""]
    return ", ".join(part for part in parts if part)


def verdict_line(one: Sameness) -> str:
    """Return the result of a check for equality in one line."""
    verdict = VERDICTS.get(one.verdict, "the same run as A, as far as both go")
    return f"{one.run}: {verdict}. {'; '.join(one.sentences)}."


def arms_apart(runs: Sequence[ComparedRun]) -> list[str]:
    """Name the arms that a run cannot compare with the first one: arms of one alone, and arms without a common generation."""
    first, *others = runs
    lines = []
    for other in others:
        for one, two in ((first, other), (other, first)):
            if alone := [name for name in one.groups if name not in two.groups]:
                lines.append(f"only in {one.letter}, not in {two.letter}: {', '.join(alone)}")
        if begun := [name for name in common_arms(first, other) if common_last(first, other, name) < 0]:
            lines.append(f"without a generation in both {first.letter} and {other.letter}: {', '.join(begun)}")
    return list(dict.fromkeys(lines))


def summary_line(found: ArmDifferences) -> str:
    """Count the headline metrics that differ, in one line."""
    headlines = headline_differences(found.metrics)
    bounded = [one for one in headlines if one.found.interval is not None]
    differing = sum(one.differs for one in bounded)
    return (
        f"{found.arm}, generation {found.generation}: the interval of {found.run} - A excludes 0 in {differing} of "
        f"{plural(len(bounded), 'headline metric')} that have one"
    )


def comparison_facts(compared: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values, with the differences of every common generation."""
    plain: dict[str, Any] = json_ready(
        {
            "runs": [_run_facts(run) for run in compared.runs],
            "settings": {row.key: row.values for row in compared.settings},
            "rule": RULE,
            "shown": [(one.run, one.arm, one.generation) for one in compared.differences],
            "differences": [_difference_facts(one) for one in all_differences(compared.runs)],
            "same": [asdict(one) for one in compared.same],
            "all_same": compared.all_same,
        }
    )
    return plain


def _run_facts(run: ComparedRun) -> dict[str, Any]:
    return {
        "letter": run.letter,
        "path": str(run.path),
        "name": run.name,
        "finished": run.finished,
        "state": run.state,
        "generations": run.planned,
        "arms": {arm.name: {"group": arm.group, "seed": arm.seed, "last": arm.last} for arm in run.arms},
        "autophage": run.version,
        "notes": run.notes,
    }


def _difference_facts(one: MetricDifference) -> dict[str, Any]:
    return {
        "run": one.run,
        "arm": one.arm,
        "generation": one.generation,
        "metric": one.metric,
        "value": asdict(one.ours),
        "first": asdict(one.theirs),
        "difference": {**asdict(one.found), "pairing": one.pairing},
        "differs": one.differs,
    }
