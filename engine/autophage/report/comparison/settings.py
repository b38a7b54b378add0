"""Settings that differ between the recipes of compared runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autophage.recipe.syntax.literals import toml_value
from autophage.report.comparison.reading import ComparedRun

TITLES = ("name", "description")
"""Keys that only name a run."""
LEFT_OUT = "left out"


@dataclass(frozen=True)
class DifferingSetting:
    """One key of the recipe with its value in each run, as TOML."""

    key: str
    values: list[str]


def differing_settings(runs: Sequence[ComparedRun]) -> list[DifferingSetting]:
    """Return the keys whose values differ between runs, in the order of the schema. Names and descriptions are left out."""
    keys = dict.fromkeys(key for run in runs for key in run.settings if key not in TITLES)
    rows = [DifferingSetting(key, [_text(run.settings.get(key)) for run in runs]) for key in keys]
    return [row for row in rows if len(set(row.values)) > 1]


def _text(value: object) -> str:
    return LEFT_OUT if value is None else toml_value(value)
