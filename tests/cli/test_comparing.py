"""`compare` in the terminal and as JSON, its exit codes and refusals."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from tests.made_runs import RunMaker

from autophage.cli import main
from autophage.store.atomic import write_text
from autophage.store.manifest import MANIFEST
from autophage.store.rundir import RunDirectory


def copy(run: RunDirectory, name: str) -> RunDirectory:
    return RunDirectory(shutil.copytree(run.root, run.root.parent / name))


def test_two_runs_in_80_columns(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_run(main=3, control=3)
    other = copy(first, "other")
    (other.generation("main", 2) / MANIFEST).unlink()
    write_text(other.recipe, other.recipe.read_text("utf-8").replace("learning_rate = ", "learning_rate = 1"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert main(["compare", str(first.root), str(other.root)]) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert all(len(line) <= 80 for line in printed.splitlines() if str(first.root.parent) not in line)
    assert ["A", str(first.root)] in lines
    assert any("unfinished, 2 of 3 generations" in line for line in printed.splitlines())
    assert any(line and line[0] == "train.learning_rate" for line in lines)
    assert "main, generation 1" in printed
    assert ["Accuracy,", "torso", "67%", "67%", "0.0", "pt", "[-61.5,", "+61.5]"] in lines
    assert "the same run as A, as far as both go. 5 generations" in " ".join(printed.split())


def test_json_has_every_common_generation(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    first = make_run(main=3, control=3)
    assert main(["compare", str(first.root), str(first.root), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [run["letter"] for run in facts["runs"]] == ["A", "B"]
    assert facts["runs"][0]["arms"]["main"] == {"group": "main", "seed": 1, "last": 2}
    assert len(facts["differences"]) == 2 * 3 * 3
    row = next(one for one in facts["differences"] if one["metric"] == "onpolicy/entropy")
    assert row["difference"] == {"value": 0.0, "low": None, "high": None, "n": None, "pairing": "independent"}
    assert facts["all_same"] is True


def test_exit_codes_of_a_reproduction_check(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    first = make_run(main=3, control=3)
    other = copy(first, "other")
    assert main(["compare", str(first.root), str(other.root), "--same"]) == 0
    (other.generation("main", 2) / MANIFEST).unlink()
    assert main(["compare", str(first.root), str(other.root), "--same"]) == 1
    assert main(["compare", str(first.root), str(other.root)]) == 0
    capsys.readouterr()


def test_the_page_is_written_where_it_is_asked_for(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run, page = make_run(main=2, control=2), tmp_path / "pages" / "compared.html"
    before = sorted(run.root.rglob("*"))
    assert main(["compare", str(run.root), str(run.root), "--out", str(page)]) == 0
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert f"page: {page}" in capsys.readouterr().out
    assert sorted(run.root.rglob("*")) == before


def wrong(make_run: RunMaker, tmp_path: Path, case: str) -> list[str]:
    run = make_run(main=2, control=2)
    if case == "one":
        return [str(run.root)]
    if case == "none":
        return []
    if case == "no run":
        (tmp_path / "empty").mkdir()
        return [str(run.root), str(tmp_path / "empty")]
    if case == "generation":
        return [str(run.root), str(run.root), "--generation", "7"]
    other = copy(run, "other")
    text = other.recipe.read_text("utf-8")
    text = text.replace("enabled = true", "enabled = false").split("\n[sweep]")[0].split("\n# [sweep]")[0]
    write_text(other.recipe, text + '\n[sweep]\n"mix.alpha" = [1.0, 0.5]\n')
    return [str(run.root), str(other.root)]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("one", "compare takes 2 to 26 run directories, and was given 1."),
        ("none", "compare takes 2 to 26 run directories, and was given 0."),
        ("no run", "holds no run (no recipe.toml)"),
        ("generation", "--generation 7: "),
        ("arms", "has no arm in common with"),
    ],
)
def test_wrong_input_is_one_message(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str, message: str
) -> None:
    arguments = wrong(make_run, tmp_path, case)
    assert main(["compare", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
