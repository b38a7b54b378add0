"""Claim of the demo on the run of `make demo`: facts fail, fluency survives, the control forgets nothing.

The run takes minutes, so `make test` leaves these tests out. `python -m pytest -m demo` after `make demo` runs them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from autophage.store.metrics_table import read_metrics_table
from autophage.store.rundir import RunDirectory

RUN = RunDirectory(Path(__file__).parents[2] / "runs" / "demo")

pytestmark = pytest.mark.demo


def change(arm: str, metric: str) -> tuple[float, float]:
    """The metric's value at generation 0 and at the last one."""
    rows = [row for row in read_metrics_table(RUN).to_pylist() if (row["arm"], row["metric"]) == (arm, metric)]
    assert len(rows) > 5, f"{RUN.root} has no finished demo; `make demo` makes one"
    rows.sort(key=lambda row: row["generation"])
    return rows[0]["value"], rows[-1]["value"]


def test_facts_fail() -> None:
    first, last = change("alpha-1.0", "knowledge/accuracy.torso")
    assert first - last >= 0.3


def test_fluency_survives() -> None:
    first, last = change("alpha-1.0", "fluency/ppl_form")
    assert last / first <= 1.15


def test_the_control_forgets_nothing() -> None:
    first, last = change("control", "knowledge/accuracy.torso")
    assert first - last <= 0.1


def test_half_human_text_loses_less() -> None:
    first, last = change("alpha-0.5", "knowledge/accuracy.torso")
    assert last > change("alpha-1.0", "knowledge/accuracy.torso")[1]
    assert first == change("alpha-1.0", "knowledge/accuracy.torso")[0]
