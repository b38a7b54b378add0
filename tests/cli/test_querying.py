"""`query` in the terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import sys

import pytest
from tests.made_runs import RunMaker

from autophage.cli import main
from autophage.cli.querying import MOST_ROWS

BY_ARM = "SELECT arm, count(*) AS tokens, avg(rank) AS mean_rank FROM tokens GROUP BY ALL ORDER BY arm"


def duckdb_is_here() -> None:
    pytest.importorskip("duckdb", reason="needs the extra `query`")


def test_a_table(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    duckdb_is_here()
    assert main(["query", str(make_run(main=2, control=1).root), BY_ARM]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["arm", "tokens", "mean_rank"]
    assert lines[2:4] == [["control", "6", "1"], ["main", "12", "1"]]


def test_json_and_csv_hold_the_same(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    duckdb_is_here()
    run = make_run(main=2, control=1)
    assert main(["query", str(run.root), BY_ARM, "--json"]) == 0
    objects = json.loads(capsys.readouterr().out)
    assert objects[1] == {"arm": "main", "tokens": 12, "mean_rank": 1.0}
    assert main(["query", str(run.root), BY_ARM, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [{name: str(value) for name, value in one.items()} for one in objects] == rows


def test_a_terminal_shows_no_control_characters(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb_is_here()
    run = make_run(main=1)
    sql = "SELECT chr(27) || '[2J' || chr(8238) AS text"
    for flags in ([], ["--json"], ["--csv"]):
        with monkeypatch.context() as patch:
            patch.setattr(sys.stdout, "isatty", lambda: True)
            assert main(["query", str(run.root), sql, *flags]) == 0
        printed = capsys.readouterr().out
        assert "\x1b[2J" not in printed
        assert "\u202e" not in printed
    assert main(["query", str(run.root), sql, "--csv"]) == 0
    assert capsys.readouterr().out == "text\n\x1b[2J\u202e\n"  # a file gets what the corpus holds


def test_a_long_answer_is_cut_in_the_terminal_alone(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    duckdb_is_here()
    run, sql = make_run(main=1), f"SELECT range AS n FROM range({MOST_ROWS + 1})"
    assert main(["query", str(run.root), sql]) == 0
    assert f"The first {MOST_ROWS} rows." in capsys.readouterr().out
    assert main(["query", str(run.root), sql, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == MOST_ROWS + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SELECT 1 AS a, 2 AS a", "--json"], "several columns 'a'"),
        (["SELECT 1", "--json", "--csv"], "--csv and --json: give one of them"),
        (["DROP VIEW tokens"], "one SELECT statement"),
        (["SELECT nothing FROM samples"], 'Binder Error: Referenced column "nothing" not found'),
    ],
)
def test_wrong_input_is_one_message(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    duckdb_is_here()
    assert main(["query", str(make_run(main=1).root), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_without_duckdb_the_message_has_the_command(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert main(["query", str(make_run(main=1).root), "SELECT 1"]) == 2
    assert 'not installed. Install it: pip install "autophage[query]"' in capsys.readouterr().err
