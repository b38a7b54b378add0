"""`verify` and `--repair` on runs with every kind of damage that `verify` finds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.made_runs import RunMaker

from autophage.cli import main
from autophage.store.lock import RunLock
from autophage.store.manifest import MANIFEST, committed
from autophage.store.metrics_table import read_metrics_table
from autophage.store.rundir import RunDirectory, read_events

SHARD = "corpus-00000.parquet"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def verified(run: RunDirectory, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    code = main(["verify", str(run.root), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit of a shard": lambda folder: flip(folder / SHARD),
    "a missing shard": lambda folder: (folder / SHARD).unlink(),
    "a torn shard": lambda folder: shorten(folder / SHARD),
    "a flipped bit of an adapter": lambda folder: flip(folder / "adapter" / "adapter_config.json"),
    "a flipped bit of the metrics": lambda folder: flip(folder / "metrics.json"),
    "a flipped bit of the manifest": lambda folder: flip(folder / MANIFEST),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_repair_goes_back_to_the_last_true_generation(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    run = make_run(main=3, control=3)
    DAMAGE[what](run.generation("main", 1))
    code, facts = verified(run, capsys)
    assert (code, facts["false_from"], facts["repaired"]) == (1, {"main": 1}, [])
    assert len(committed_numbers(run, "control")) == 3
    code, facts = verified(run, capsys, "--repair")
    assert (code, facts["faults"], facts["arms"]) == (0, [], {"main": 1, "control": 3})
    assert committed_numbers(run, "main") == [0]
    assert not run.generation("main", 1).exists()
    assert not run.generation("main", 2).exists()
    assert (run.root / "set-aside" / "001" / "arms" / "main" / "gen-002" / MANIFEST).is_file()
    assert facts["repaired"][-2:] == [
        "main: resumes after generation 0",
        f"{run.metrics}: rewritten from the committed generations",
    ]
    assert {row["generation"] for row in read_metrics_table(run).to_pylist() if row["arm"] == "main"} == {0}
    assert [one["text"] for one in read_events(run.events) if one["kind"] == "note"] == [
        f"repair: {text}" for text in facts["repaired"]
    ]
    assert verified(run, capsys)[0] == 0


def committed_numbers(run: RunDirectory, arm: str) -> list[int]:
    return [manifest.generation for manifest in committed(run, arm)]


def test_a_damaged_first_generation_leaves_nothing_of_its_arm(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(main=2, control=2)
    flip(run.generation("main", 0) / SHARD)
    code, facts = verified(run, capsys, "--repair")
    assert (code, facts["arms"]) == (0, {"main": 0, "control": 2})
    assert "main: starts again" in facts["repaired"]


def test_what_a_first_repair_set_aside_is_kept_by_the_second(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(main=3, control=1)
    for generation in (2, 1):
        flip(run.generation("main", generation) / SHARD)
        assert verified(run, capsys, "--repair")[0] == 0
    assert [path.name for path in sorted(run.aside.iterdir())] == ["001", "002"]


@pytest.mark.parametrize(
    "name",
    [
        "arms/main/gen-001/extra.bin",
        "arms/main/gen-001/adapter/more.json",
        "arms/main/gen-001/model/x",
        "arms/main/x.txt",
    ],
)
def test_a_foreign_file_is_found_and_set_aside_and_costs_no_generation(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run = make_run(main=2, control=1)
    path = run.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"foreign")
    code, facts = verified(run, capsys)
    assert code == 1
    assert len(facts["faults"]) == len(facts["foreign"]) == 1
    assert facts["false_from"] == {}
    code, facts = verified(run, capsys, "--repair")
    assert (code, facts["arms"]) == (0, {"main": 2, "control": 1})
    assert not path.exists()
    assert (run.root / "set-aside" / "001" / name).read_bytes() == b"foreign"


@pytest.mark.parametrize("what", ["a torn table", "another value"])
def test_a_table_of_metrics_that_says_otherwise_is_made_again(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    run = make_run(main=2, control=1)
    before = read_metrics_table(run)
    if what == "a torn table":
        shorten(run.metrics)
    else:
        changed = before.set_column(3, "value", pc.add(before.column("value"), 1e-9))
        pq.write_table(changed, run.metrics)
    assert verified(run, capsys)[0] == 1
    assert verified(run, capsys, "--repair")[0] == 0
    assert read_metrics_table(run).equals(before)


def test_a_table_that_is_behind_is_no_fault(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    from autophage.store.metrics_table import write_metrics_table

    run = make_run(main=2, control=2)
    write_metrics_table(run, ["main"])
    assert verified(run, capsys)[0] == 0


def test_a_damaged_recipe_is_found_and_nothing_can_be_made_of_it(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    from autophage.store.atomic import sha256

    run = make_run(main=1, control=1)
    run.write_environment({"recipe": sha256(run.recipe)})
    assert verified(run, capsys)[0] == 0
    text = run.recipe.read_bytes()
    for damaged in (text.replace(b"a run for tests", b"a run for tossts"), text[: len(text) // 2] + b"\xff", b"["):
        run.recipe.write_bytes(damaged)
        for options in ((), ("--repair",)):
            code, facts = verified(run, capsys, *options)
            assert code == 1
            assert any("recipe.toml" in fault for fault in facts["faults"])
            assert facts["repaired"] == []
    run.recipe.write_bytes(text)
    flip(run.environment)
    code, facts = verified(run, capsys, "--repair")
    assert (code, len(facts["faults"])) == (1, 1)
    assert "environment.json" in facts["faults"][0]


def test_verify_alone_changes_nothing(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=3, control=1)
    flip(run.generation("main", 1) / SHARD)
    before = {path: path.stat().st_mtime_ns for path in run.root.rglob("*")}
    assert main(["verify", str(run.root)]) == 1
    assert {path: path.stat().st_mtime_ns for path in run.root.rglob("*")} == before
    said = capsys.readouterr().out
    assert "main: intact up to generation 0" in said
    assert "--repair` sets damaged generations aside" in said


def test_a_run_that_is_being_written_is_not_repaired(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=2, control=1)
    flip(run.generation("main", 1) / SHARD)
    with RunLock(run.lock):
        assert main(["verify", str(run.root), "--repair"]) == 2
    assert run.generation("main", 1).is_dir()
