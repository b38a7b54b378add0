"""Gates on the real stack: equal verdicts in loop and engine, counts that add up, and filtered training data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GATED = """
name = "gated"
generations = 2
[base]
hidden_size = 64
layers = 2
heads = 2
tokens = 300_000
batch_size = 8
[source]
people = 20
held_out_documents = 20
[model]
rank = 8
[sample]
count = 40
oversample = 1.5
concurrency = 64
[mix]
short = "human"
[train]
epochs = 1.0
batch_size = 16
[measure]
resamples = 200
[control]
enabled = false
[[gate]]
kind = "verifier"
keep_wrong = 0.2
[[gate]]
kind = "surprise"
keep = 0.8
under = "base"
[[gate]]
kind = "detector"
human = 64
[[gate]]
kind = "gain"
keep = 0.9
least = -1.0
human = 8
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "gated.toml"
    path.write_text(GATED)
    return path


@pytest.fixture(scope="module")
def gated_run(recipe: Path, autophage: Run) -> Path:
    out = recipe.parent / "gated"
    done = autophage("run", recipe, "--out", out)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_loop_and_engine_judge_alike(
    gated_run: Path, recipe: Path, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "autophage.loop", str(recipe), "--out", str(tmp_path / "loop")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    engine, loop = contents(gated_run), contents(tmp_path / "loop")
    assert engine.keys() == loop.keys()
    assert [name for name in engine if engine[name] != loop[name]] == []


def test_what_is_sampled_adds_up_everywhere(gated_run: Path, autophage: Run) -> None:
    for folder in sorted(gated_run.glob("arms/main/gen-*")):
        counts = read(folder / "manifest.json")["counts"]
        rows = [row for shard in sorted(folder.glob("corpus-*")) for row in pq.read_table(shard).to_pylist()]
        assert counts["samples"] == len(rows) == 60
        assert counts["samples"] == counts["accepted"] + counts["rejected"]
        reasons = Counter(row["gate"] for row in rows if not row["accepted"])
        assert {f"rejected.{reason}": count for reason, count in reasons.items()} == {
            name: count for name, count in counts.items() if name.startswith("rejected.")
        }
        assert {"verifier: wrong", "surprise: unsurprising", "detector: not drawn"} <= set(reasons)
        assert any(reason.startswith("gain: ") for reason in reasons)
        metrics = {row["metric"]: row["value"] for row in read(folder / "metrics.json")}
        assert metrics["gate/accepted"] == counts["accepted"] / 60
        assert metrics["gate/rejected"] == pytest.approx(1 - metrics["gate/accepted"])
        assert metrics["gate/rejected.verifier: wrong"] == reasons["verifier: wrong"] / 60
        weights = [row["weight"] for row in rows if row["accepted"]]
        assert metrics["gate/weight"] == pytest.approx(sum(weights) / len(weights))
        assert max(weights) > 1.0
        assert metrics["gate/scored_tokens"] > 0
        assert metrics["gate/trained_tokens"] > 0
        assert all(row["weight"] == 0.0 for row in rows if not row["accepted"])
    done = autophage("verify", gated_run)
    assert done.returncode == 0, done.stdout
    page = (gated_run / "report.html").read_text("utf-8")
    assert "Decisions of the gates" in page
    assert "verifier (keep_wrong 0.2), then surprise" in page


def test_counts_that_are_not_the_corpus_are_found(gated_run: Path, autophage: Run, tmp_path: Path) -> None:
    import shutil

    from autophage.store.manifest import INDENT
    from autophage.store.seal import sealed

    copied = tmp_path / "copied"
    shutil.copytree(gated_run, copied)
    path = copied / "arms" / "main" / "gen-002" / "manifest.json"
    manifest = read(path)
    del manifest["seal"]
    manifest["counts"]["accepted"] += 1
    manifest["counts"]["rejected.novelty: near human text"] = 1
    path.write_text(sealed(manifest, INDENT), "utf-8")
    done = autophage("verify", copied)
    assert done.returncode == 1
    assert f"accepted, the manifest says {manifest['counts']['accepted']}" in done.stdout + done.stderr
    assert "0 rejected.novelty: near human text, the manifest says 1" in done.stdout + done.stderr


@pytest.mark.long
def test_of_nothing_nothing_is_learnt(recipe: Path, autophage: Run, tmp_path: Path) -> None:
    """Without human rows, a gate that rejects everything leaves the previous model. The run goes on and reports it."""
    gate = 'gate=[{kind = "verifier", check = "regex", pattern = "zzz", unread = "reject"}]'
    done = autophage("run", recipe, "--set", gate, "--set", "mix.short=fewer", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    folders = sorted((tmp_path / "run").glob("arms/main/gen-*"))
    manifests = [read(folder / "manifest.json") for folder in folders]
    assert len(manifests) == 3
    assert [one["counts"]["accepted"] for one in manifests] == [0, 0, 0]
    assert len({one["weights"]["digest"] for one in manifests}) == 1
    assert [len(pq.read_table(folder / "training.parquet")) for folder in folders[1:]] == [0, 0]
    assert autophage("verify", tmp_path / "run").returncode == 0


def test_a_missing_model_is_told_before_a_generation_is_made(recipe: Path, autophage: Run, tmp_path: Path) -> None:
    gate = 'gate=[{kind = "quality", model = "no/such-model", label = "good"}]'
    done = autophage("run", recipe, "--set", gate, "--out", tmp_path / "run")
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-2000:]
    assert "gate.model = 'no/such-model': cannot be loaded" in done.stderr
    assert not list((tmp_path / "run").glob("arms/*/gen-*/manifest.json"))
