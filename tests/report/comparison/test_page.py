"""The page of a comparison: self-contained, inert, complete."""

from __future__ import annotations

import base64
import csv
import io
import json
import re

import pytest
from tests.report.comparison.conftest import MakeNamed

from autophage.errors import UserError
from autophage.report.comparison.gather import compare
from autophage.report.comparison.page import COLUMNS, render_comparison, write_comparison
from autophage.store.atomic import write_text

HOSTILE = "</script><script>alert(1)</script>\\u001b[31m\\u202e"


def figures(page: str) -> dict[str, list[dict[str, object]]]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    loaded: dict[str, list[dict[str, object]]] = json.loads(found[1])
    return loaded


def test_curves_of_all_runs_lie_over_each_other(make_named: MakeNamed, half: str) -> None:
    page = render_comparison(compare([make_named("a"), make_named("b", recipe=half), make_named("c")]))
    drawn = figures(page)
    names = {trace.get("name") for panel in drawn["main"] for trace in panel["data"]}  # type: ignore[attr-defined]
    assert {f"{run} \u00b7 {arm}" for run in "ABC" for arm in ("main", "control")} <= names
    apart = {trace.get("name") for panel in drawn["differences"] for trace in panel["data"]}  # type: ignore[attr-defined]
    assert apart - {None} == {f"{run} \u00b7 {arm}" for run in "BC" for arm in ("main", "control")}
    for key in drawn:
        assert f'id="figure-{key}"' in page


def test_it_needs_no_network(make_named: MakeNamed) -> None:
    page = render_comparison(compare([make_named("a"), make_named("b")]))
    outside = page[: page.index('<script type="application/json"')]
    assert not re.search(r'(?:src|href)="(?!#|data:)', outside)
    assert "default-src &#39;none&#39;" in outside


def test_foreign_text_is_inert(make_named: MakeNamed) -> None:
    first, other = make_named("a"), make_named("b<script>alert(1)")
    write_text(other.recipe, f'oracle = "{HOSTILE}"\n' + other.recipe.read_text("utf-8"))
    page = render_comparison(compare([first, other]))
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_all_differences_are_in_the_csv(make_named: MakeNamed, half: str) -> None:
    first, other = make_named("a"), make_named("b", recipe=half)
    page = render_comparison(compare([first, other]))
    found = re.search(r"base64,([A-Za-z0-9+/=]+)\"", page)
    assert found is not None
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(found[1]).decode())))
    assert tuple(rows[0]) == COLUMNS
    places = {(row["arm"], int(row["generation"])) for row in rows}
    assert places == {(arm, generation) for arm in ("main", "control") for generation in range(3)}


def test_a_file_that_cannot_be_written_is_one_message(make_named: MakeNamed) -> None:
    run = make_named("a")
    with pytest.raises(UserError, match=f"--out {run.root}: cannot be written"):
        write_comparison(compare([run, run]), run.root)
