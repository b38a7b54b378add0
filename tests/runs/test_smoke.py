"""The real stack on the smallest recipe, from vLLM to the store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from autophage.progress import Meter
from autophage.store.corpus import STATISTICS
from autophage.trainer.head import find_head
from autophage.trainer.scoring import score

Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_loop_and_engine_make_the_same_run(
    smoke_run: Path, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "autophage.loop", "smoke", "--out", str(tmp_path / "loop")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    engine, loop = contents(smoke_run), contents(tmp_path / "loop")
    assert engine.keys() == loop.keys()
    files, trained = 4, 5  # what a trained generation has beside: the statistics of its training steps
    assert len(engine) == 3 * (files + 2 * trained)
    assert [name for name in engine if engine[name] != loop[name]] == []


@pytest.mark.long
def test_working_on_two_arms_at_once_changes_nothing(
    smoke_run: Path, contents: Contents, autophage: Run, tmp_path: Path
) -> None:
    out = tmp_path / "disjoint"
    done = autophage("run", "smoke", "--set", "devices=disjoint", "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(out) == contents(smoke_run)
    begun, overlapped = set(), False
    for line in (out / "events.jsonl").read_text("utf-8").splitlines():
        event = json.loads(line)
        if event["kind"] == "stage-start":
            begun.add((event["arm"], event["stage"]))
        elif event["kind"] == "stage-end":
            begun.discard((event["arm"], event["stage"]))
        overlapped |= len({arm for arm, _ in begun}) > 1
    assert overlapped, "sampler and trainer never worked at once"


def test_training_changed_what_is_sampled(smoke_run: Path, contents: Contents) -> None:
    found = contents(smoke_run)
    for arm in ("alpha-1.0", "alpha-0.5", "control"):
        adapters = {found[f"arms/{arm}/gen-00{g}/adapter/adapter_model.safetensors"] for g in range(3)}
        assert len(adapters) == 3


def test_corpora_are_whole(smoke_run: Path) -> None:
    ids = []
    for shard in smoke_run.glob("arms/*/gen-*/corpus-*.parquet"):
        for row in pq.read_table(shard).to_pylist():
            ids.append(row["sample_id"])
            lengths = {len(row[name]) for name in ("token_ids", "logprob", "entropy", "varentropy", "rank", "max_prob")}
            assert len(lengths) == 1
            assert all(value <= 0 for value in row["logprob"])
            assert row["accepted"]
            assert (row["token_ids"][-1] == 2) == (row["finish_reason"] == "stop")
    assert len(ids) == len(set(ids)) == 9 * 48


def test_recorded_statistics_are_those_of_the_model_that_is_committed(smoke_run: Path) -> None:
    """The recorded statistics equal a teacher-forced pass of the exported model over its corpus."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = json.loads((smoke_run / "environment.json").read_text("utf-8"))["model"]["path"]
    tokens = 0
    for folder in smoke_run.glob("arms/*/gen-002"):
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder / "adapter").eval()
        rows = pq.read_table(folder / "corpus-00000.parquet").to_pylist()
        sequences = [row["prompt_ids"] + row["token_ids"] for row in rows]
        found = score(find_head(model), sequences, [len(row["prompt_ids"]) for row in rows], Meter())
        for row, own in zip(rows, found, strict=True):
            tokens += len(row["token_ids"])
            for name in STATISTICS:
                np.testing.assert_allclose(row[name], getattr(own, name), atol=1e-4)
    assert tokens > 3000


def test_every_swap_was_checked(smoke_run: Path) -> None:
    for path in smoke_run.glob("arms/*/gen-*/manifest.json"):
        weights = json.loads(path.read_text("utf-8"))["weights"]
        assert 0 <= weights["canary_nats"] < 1e-4
        assert weights["served_as"].endswith(weights["digest"][:16])


def test_every_stage_of_the_model_has_its_share_of_light(smoke_run: Path, autophage: Run) -> None:
    events = [json.loads(line) for line in (smoke_run / "events.jsonl").read_text("utf-8").splitlines()]
    [light] = [event for event in events if event["kind"] == "light"]
    assert all(seconds > 0 for _, seconds in (*light["layers"], *light["head"]))
    shares = {
        (event["arm"], event["generation"], event["stage"]): event.get("of_light")
        for event in events
        if event["kind"] == "stage-end" and event["stage"] in ("sample", "train")
    }
    assert len(shares) == 3 * (3 + 2)
    assert all(share is not None and share > 0 for share in shares.values())
    for (arm, generation, stage), share in shares.items():
        rows = json.loads((smoke_run / f"arms/{arm}/gen-{generation:03d}/metrics.json").read_text("utf-8"))
        assert [row["value"] for row in rows if row["metric"] == f"speed/{stage}_of_light"] == [
            pytest.approx(share, abs=1e-4)
        ]
    status = json.loads(autophage("status", smoke_run, "--json").stdout)
    assert all(arm["of_light"].keys() == {"sample", "train"} for arm in status["arms"])


def test_a_finished_run_has_nothing_to_do(smoke_run: Path, contents: Contents, autophage: Run) -> None:
    before = contents(smoke_run)
    began = time.monotonic()
    done = autophage("run", "smoke", "--out", smoke_run)
    assert (done.returncode, "nothing to do" in done.stdout) == (0, True), done.stderr
    assert time.monotonic() - began < 20
    assert contents(smoke_run) == before


def test_a_changed_recipe_is_refused(smoke_run: Path, autophage: Run) -> None:
    done = autophage("run", "smoke", "--out", smoke_run, "--set", "train.epochs=3")
    assert done.returncode == 2
    assert "train.epochs" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["status", "verify", "report", "watch"])
def test_readers_read_it(smoke_run: Path, autophage: Run, verb: str) -> None:
    done = autophage(verb, smoke_run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_exported_adapters_load_in_peft(smoke_run: Path, autophage: Run, tmp_path: Path) -> None:
    for what in ("adapter", "merged", "corpus"):
        place = ["--arm", "control", "--generation", "2", "--what", what, "--out", tmp_path / what]
        done = autophage("export", smoke_run, *place)
        assert done.returncode == 0, done.stderr
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = json.loads((smoke_run / "environment.json").read_text("utf-8"))["model"]["path"]
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    assert sum(float(p.abs().sum()) for name, p in model.named_parameters() if "lora_B" in name) > 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").config.vocab_size > 0


@pytest.mark.long
def test_a_source_that_changed_meanwhile_is_refused(autophage: Run, tmp_path: Path) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("The harbour was calm and the pilot slept. " * 300, encoding="utf-8")
    settings = {"source.path": text, "generations": 1, "base.tokens": 4000, "base.hidden_size": 64, "base.heads": 2}
    settings |= {
        "base.layers": 1,
        "base.vocabulary": 300,
        "source.block": 8,
        "source.continuation": 8,
        "sample.count": 8,
    }
    command = [
        "run",
        "text",
        "--out",
        out,
        *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
    ]
    assert autophage(*command).returncode == 0
    for folder in out.glob("arms/*/gen-001"):
        (folder / "manifest.json").unlink()
    text.write_text("The harbour was wild and the pilot drowned. " * 300, encoding="utf-8")
    done = autophage(*command)
    assert done.returncode == 2, done.stderr[-1000:]
    assert "changed since this run started" in done.stderr
    assert (out / "arms/control/gen-000/manifest.json").is_file()
