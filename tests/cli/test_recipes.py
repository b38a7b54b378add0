"""`recipes`, `show`, `plan` and `doctor`."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from autophage.cli import main
from autophage.recipe import read_resolved, shipped_recipes


def test_recipes_lists_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(shipped_recipes())


def test_show_is_verbatim(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_file.write_text(recipe_file.read_text("utf-8") + "# a comment,\twith a tab\n", "utf-8")
    assert main(["show", str(recipe_file)]) == 0
    assert capsys.readouterr().out == recipe_file.read_text("utf-8")


def test_show_resolved_reads_back(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(recipe_file), "--resolved", "--set", "mix.alpha=0.5"]) == 0
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(capsys.readouterr().out, "utf-8")
    recipe = read_resolved(resolved)
    assert (recipe.name, recipe.mix.alpha, recipe.sample.count) == ("tiny", 0.5, 3)
    assert "--set" in resolved.read_text("utf-8")
    assert f"{recipe_file.name}:2" in resolved.read_text("utf-8")


def test_show_json(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(recipe_file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert tomllib.loads(facts["toml"])["sample"] == {"count": 3}
    assert facts["recipe"]["train"]["chain"] == "cumulative"


def test_plan_for_people(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", str(recipe_file), "--set", "mix.alpha=0.5", "--machine", "cpu-2", "--price-per-hour", "36"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert printed.startswith("tiny: a run for tests\n")
    assert "human data only" in rows["control"]
    assert rows["main"].split()[1] == "-"
    assert "for the base model" in rows["time"]
    found = re.search(r"about (?:(\d+) min )?([\d.]+) s", rows["time"])
    assert found is not None
    minutes, seconds = found.groups("0")
    # 36 an hour is a cent a second.
    assert float(rows["cost"].split()[1]) == pytest.approx((60 * int(minutes) + float(seconds)) / 100, abs=0.02)
    assert "These are estimates. They assume:" in printed
    assert "speeds measured" in rows["machine"]


def test_plan_json(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe_file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [arm["name"] for arm in facts["arms"]] == ["main", "control"]
    assert facts["recipe"]["generations"] == 2
    assert facts["cost"] is None


def test_doctor_says_what_is_wrong_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)
    assert {"name", "ok", "found", "remedy"} <= set(checks[0])
    assert code == (1 if any(check["ok"] is False for check in checks) else 0)
