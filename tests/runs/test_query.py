"""SQL over a run: tables, values and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.made_runs import RunMaker

from autophage.errors import StoreError, UserError
from autophage.runs.query import QueryResult, query
from autophage.store.corpus import SCHEMA
from autophage.store.manifest import MANIFEST
from autophage.store.rundir import RunDirectory

pytest.importorskip("duckdb", reason="needs the extra `query`")
ARMS = ["main", "control"]


def rows(run: RunDirectory, sql: str) -> list[tuple[object, ...]]:
    return list(query(run, ARMS, sql).rows)


def test_samples_have_arm_and_generation(make_run: RunMaker) -> None:
    run = make_run(main=3, control=2)
    counted = rows(run, "SELECT arm, generation, count(*) FROM samples GROUP BY ALL ORDER BY arm DESC, generation")
    assert counted == [("main", 0, 3), ("main", 1, 3), ("main", 2, 3), ("control", 0, 3), ("control", 1, 3)]


def test_tokens_are_one_row_each_in_order(make_run: RunMaker) -> None:
    run = make_run(main=1)
    found = query(
        run, ARMS, "SELECT position, token_id, rank FROM tokens WHERE arm = 'main' ORDER BY sample_id, position"
    )
    assert found.columns == ["position", "token_id", "rank"]
    assert list(found.rows) == [(0, 5, 1), (1, 6, 1)] * 3


def test_metrics_are_those_of_the_generations(make_run: RunMaker) -> None:
    run = make_run(main=3)
    run.metrics.unlink()  # the table is derived, and a crash may leave it behind
    found = rows(run, "SELECT round(value, 2), low, n FROM metrics WHERE generation = 2 AND metric LIKE 'knowledge/%'")
    assert found == [(0.47, 0.1, 600)]


def test_uncommitted_generations_are_not_there(make_run: RunMaker) -> None:
    run = make_run(main=3)
    (run.generation("main", 2) / MANIFEST).unlink()
    assert rows(run, "SELECT max(generation) FROM samples") == [(1,)]


def test_a_query_opens_only_the_files_of_its_generation(make_run: RunMaker) -> None:
    run = make_run(main=3)
    (run.generation("main", 2) / "corpus-00000.parquet").write_bytes(b"damaged")
    assert rows(run, "SELECT count(*) FROM samples WHERE generation = 1") == [(3,)]
    with pytest.raises(UserError):
        rows(run, "SELECT sum(weight) FROM samples")


def test_a_path_with_glob_characters(make_run: RunMaker) -> None:
    run = make_run(main=1)
    moved = run.root.rename(run.root.parent / "a[1]*?:b")
    assert rows(RunDirectory(moved), "SELECT count(*) FROM samples") == [(3,)]


def test_many_rows_come_in_batches(make_run: RunMaker) -> None:
    run = make_run(main=1)
    assert len(rows(run, "SELECT * FROM samples, range(1000)")) == 3000


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", r'^Parser Error: syntax error at or near "SELEC"\. The tables'),
        ("SELECT nothing FROM samples", "^Binder Error: .*nothing"),
        ("SELECT * FROM sampels", "^Catalog Error: Table with name sampels does not exist"),
        ("SELECT CAST(arm AS INT) FROM samples", "^Conversion Error"),
        ("CREATE TABLE t (a INT)", "^A query is one SELECT statement"),
        ("SELECT 1; SELECT 2", "^A query is one SELECT statement"),
        ("SET threads = 1", "^A query is one SELECT statement"),
        ("", "^A query is one SELECT statement"),
    ],
)
def test_what_is_no_query_is_one_message(make_run: RunMaker, sql: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        rows(make_run(main=1), sql)
    assert "\n" not in str(caught.value)


def test_a_query_writes_no_file(make_run: RunMaker, tmp_path: Path) -> None:
    target = tmp_path / "stolen.parquet"
    with pytest.raises(UserError, match="one SELECT"):
        rows(make_run(main=1), f"COPY samples TO '{target}'")
    assert not target.exists()


def test_a_missing_corpus_is_named(make_run: RunMaker) -> None:
    run = make_run(main=2)
    path = run.generation("main", 1) / "corpus-00000.parquet"
    path.unlink()
    with pytest.raises(StoreError, match=f"{path}: is missing"):
        rows(run, "SELECT 1")


@pytest.mark.thorough
def test_corpora_load_as_they_lie(make_run: RunMaker, tmp_path: Path) -> None:
    import datasets
    import duckdb

    run = make_run(main=3, control=2)
    corpora = str(run.arms / "*" / "gen-*" / "corpus-*.parquet")
    loaded = datasets.load_dataset("parquet", data_files=corpora, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.column_names == SCHEMA.names
    directly = duckdb.execute(f"SELECT sample_id, token_ids, entropy FROM '{corpora}' ORDER BY sample_id").fetchall()
    told = rows(run, "SELECT sample_id, token_ids, entropy FROM samples ORDER BY sample_id")
    ordered = loaded.sort("sample_id")
    assert [tuple(row[name] for name in ("sample_id", "token_ids", "entropy")) for row in ordered] == directly == told


def test_an_answer_keeps_repeated_names(make_run: RunMaker) -> None:
    found: QueryResult = query(make_run(main=1), ARMS, "SELECT 1 AS a, 2 AS a")
    assert (found.columns, list(found.rows)) == (["a", "a"], [(1, 2)])
