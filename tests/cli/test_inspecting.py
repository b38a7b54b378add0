"""`status` and `verify` on run directories made with the store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.made_runs import RunMaker

from autophage.cli import main
from autophage.store.atomic import sha256
from autophage.store.lock import RunLock
from autophage.store.manifest import MANIFEST, Manifest, describe_files, read_manifest, write_manifest
from autophage.store.rundir import EventLog


def test_status_of_a_finished_run(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=3, control=3)
    assert main(["status", str(run.root)]) == 0
    printed = capsys.readouterr().out
    assert "tiny in " in printed
    assert "finished, no process is writing it" in printed
    row = next(line for line in printed.splitlines() if line.strip().startswith("main"))
    assert row.split() == ["main", "3/3", "finished", "0.87", "->", "0.47", "1.25", "->", "1.45", "0.50", "->", "0.30"]


def test_status_states_what_was_chosen_on_a_gpu(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=1)
    chosen = {
        "devices": {"value": "colocated", "reason": "they fit"},
        "cluster.cells": {"value": 1, "reason": "without a GPU"},
    }
    run.write_environment({"choices": chosen})
    assert main(["status", str(run.root)]) == 0
    shown = capsys.readouterr().out
    assert "devices = colocated: they fit" in shown
    assert "cluster.cells" not in shown


def test_status_counts_manifests_not_events(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("", main=3, control=1)
    (run.generation("main", 2) / MANIFEST).unlink()
    assert main(["status", str(run.root), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {arm["name"]: arm["committed"] for arm in facts["arms"]} == {"main": 2, "control": 1}
    assert facts["state"] == "stopped"
    assert facts["seconds_left"] is None
    assert facts["bytes"] == sum(path.stat().st_size for path in run.root.rglob("*") if path.is_file())


def test_status_shows_the_stage_only_while_a_writer_lives(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("", main=1, control=1)
    log = EventLog(run.events)
    log.append({"kind": "stage-start", "time": 1.0, "arm": "main", "generation": 1, "stage": "train"})
    log.append(
        {
            "kind": "stage-progress",
            "time": 1.0,
            "arm": "main",
            "generation": 1,
            "stage": "train",
            "done": 3,
            "total": 4,
            "tokens_per_second": 100.0,
        }
    )
    with RunLock(run.lock):
        assert main(["status", str(run.root)]) == 0
        alive = capsys.readouterr().out
    assert main(["status", str(run.root)]) == 0
    assert "running, a process is writing it" in alive
    assert "train of generation 1 75%" in alive
    assert "train" not in capsys.readouterr().out


def test_status_of_an_interrupted_run_says_why(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("interrupted", main=1, control=0)
    assert main(["status", str(run.root)]) == 0
    assert "interrupted: Ctrl-C" in capsys.readouterr().out


def test_verify_passes_an_intact_run(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=3, control=2)
    assert main(["verify", str(run.root), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["ok"], facts["generations"], facts["samples"]) == (True, 5, 15)
    assert facts["arms"] == {"main": 3, "control": 2}
    assert facts["faults"] == facts["notes"] == []


def test_verify_names_a_changed_file(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=2, control=1)
    damaged = run.generation("main", 1) / "metrics.json"
    damaged.write_text(damaged.read_text("utf-8").replace("0.1", "0.2"), "utf-8")
    assert main(["verify", str(run.root)]) == 1
    assert f"fault: {damaged}: its sha256 differs from the manifest's" in capsys.readouterr().out


def test_verify_finds_a_gap(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=3, control=1)
    (run.generation("main", 1) / MANIFEST).unlink()
    assert main(["verify", str(run.root)]) == 1
    assert (
        f"{run.generation('main', 1)}: has no manifest.json, but later generations have one" in capsys.readouterr().out
    )


def test_verify_finds_a_gap_where_the_folder_is_gone(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=3, control=1)
    shutil.rmtree(run.generation("main", 0))
    assert main(["verify", str(run.root), "--json"]) == 1
    assert any("gen-000: has no manifest" in fault for fault in json.loads(capsys.readouterr().out)["faults"])


def test_verify_does_not_count_leftovers(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=2, control=1)
    left = run.generation("main", 2)
    shutil.copytree(run.generation("main", 1), left)
    (left / MANIFEST).unlink()
    assert main(["verify", str(run.root), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["arms"]["main"] == 2
    assert facts["notes"] == [f"{left}: uncommitted, not counted (left by an interrupted run; a resumed run clears it)"]


@pytest.mark.parametrize("twice", [False, True], ids=["too few rows", "a sample twice"])
def test_verify_counts_samples(make_run: RunMaker, capsys: pytest.CaptureFixture[str], twice: bool) -> None:
    """Equal hashes are not enough. The corpus must hold as many samples as the manifest says, each once."""
    run = make_run(main=1, control=1)
    folder = run.generation("main", 0)
    shard = folder / "corpus-00000.parquet"
    table = pq.read_table(shard)
    pq.write_table(table.take([0, 0, 1]) if twice else table.slice(0, 2), shard)
    manifest = read_manifest(folder)
    write_manifest(folder, Manifest(**{**vars(manifest), "files": describe_files(folder)}))
    assert main(["verify", str(run.root)]) == 1
    expected = "1 samples of its corpus are duplicates" if twice else "its corpus has 2 samples, the manifest says 3"
    assert expected in capsys.readouterr().out


def test_verify_reports_an_unreadable_manifest_and_goes_on(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(main=2, control=2)
    (run.generation("main", 1) / MANIFEST).write_text("{", "utf-8")
    assert main(["verify", str(run.root), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["faults"]) == 1
    assert "is not JSON" in facts["faults"][0]
    assert facts["samples"] == 9


def test_verify_checks_the_chain_of_parents(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=2, control=1)
    manifest = read_manifest(run.generation("main", 0))
    before = sha256(run.generation("main", 0) / MANIFEST)
    write_manifest(run.generation("main", 0), Manifest(**{**vars(manifest), "level": "exact"}))
    assert sha256(run.generation("main", 0) / MANIFEST) != before
    assert main(["verify", str(run.root)]) == 1
    assert "its parent is not the generation before it" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["status", "verify", "watch", "report"])
def test_a_directory_without_a_run_is_the_users_error(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_the_report_as_json_says_which_metric_saw_it_first(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(main=3, control=3)
    assert main(["report", str(run.root), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["report"] == str(run.report)
    warning = facts["early_warning"]
    assert (warning["stay"], set(warning["arms"])) == (2, {"main"})
    reasons = {one["metric"]: one["reason"] for one in warning["arms"]["main"]}
    assert reasons["onpolicy/entropy"] == reasons["knowledge/accuracy.torso"] == "too few generations"
