"""Runs of other versions, unfinished runs, and damaged ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.report.comparison.conftest import MakeNamed

from autophage.errors import RecipeError, StoreError
from autophage.recipe.foreign import read_foreign
from autophage.report.comparison.gather import compare
from autophage.report.comparison.reading import read_compared
from autophage.report.comparison.sameness import SAME
from autophage.store.atomic import write_text
from autophage.store.manifest import INDENT, MANIFEST
from autophage.store.rundir import RunDirectory
from autophage.store.seal import sealed, unsealed


def change(run: RunDirectory, arm: str, generation: int, **fields: Any) -> None:
    path = run.generation(arm, generation) / MANIFEST
    write_text(path, sealed({**unsealed(path, INDENT), **fields}, INDENT))


def test_an_unfinished_run_says_how_far_it_went(make_named: MakeNamed) -> None:
    run = read_compared(make_named("a", reached={"main": 1, "control": 0}), "A")
    assert (run.finished, run.reached, run.state) == (False, 0, "unfinished, 1 of 3 generations")
    assert [len(arm.committed) for arm in run.arms] == [2, 1]


def test_keys_of_another_version_are_compared_as_they_are_written(make_named: MakeNamed) -> None:
    first, other = make_named("a"), make_named("b")
    text = other.recipe.read_text("utf-8").replace("[mix]", "[mix]\nfermentation = 3")
    write_text(other.recipe, "patience = 7\n" + text + '\n[oracle]\nkind = "delphi"\n')
    compared = compare([first, other])
    assert {row.key: row.values for row in compared.settings} == {
        "patience": ["left out", "7"],
        "mix.fermentation": ["left out", "3"],
        "oracle.kind": ["left out", '"delphi"'],
    }
    assert compared.runs[1].recipe is not None
    assert "does not know mix.fermentation, oracle.kind, patience" in compared.runs[1].notes[0]


def test_a_recipe_that_this_version_refuses_is_still_read(make_named: MakeNamed) -> None:
    first, other = make_named("a"), make_named("b")
    write_text(other.recipe, other.recipe.read_text("utf-8").replace("alpha = 1.0", 'alpha = "all"\nseed = 3'))
    compared = compare([first, other])
    run = compared.runs[1]
    assert run.recipe is None
    assert [(arm.name, arm.control) for arm in run.arms] == [("control", True), ("main", False)]
    assert compared.arms == ["main", "control"]
    assert [one.verdict for one in compared.same] == [SAME]


def test_a_manifest_of_another_format_is_read(make_named: MakeNamed) -> None:
    first, other = make_named("a"), make_named("b")
    for arm in ("main", "control"):
        for generation in range(3):
            change(other, arm, generation, format=2, mood="sanguine")
    assert [one.verdict for one in compare([first, other]).same] == [SAME]


def test_a_manifest_that_was_changed_is_a_fault(make_named: MakeNamed) -> None:
    run = make_named("a")
    path = run.generation("main", 1) / MANIFEST
    path.write_text(path.read_text("utf-8").replace('"generation": 1', '"generation": 4'), "utf-8")
    with pytest.raises(StoreError, match="seal"):
        read_compared(run, "A")


def test_metrics_that_were_changed_are_a_fault(make_named: MakeNamed) -> None:
    run = make_named("a")
    write_text(run.generation("main", 1) / "metrics.json", "[]")
    with pytest.raises(StoreError, match="differs from its manifest"):
        read_compared(run, "A")


def test_a_recipe_that_is_not_toml_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("name = ", "utf-8")
    with pytest.raises(RecipeError):
        read_foreign(path)
