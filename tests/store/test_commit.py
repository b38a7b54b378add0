from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autophage.errors import StoreError, UserError
from autophage.store import manifest as manifests
from autophage.store.atomic import TEMPORARY
from autophage.store.canary import CanaryRecord
from autophage.store.commit import Generation, commit_generation, committed_samples, committed_weights
from autophage.store.corpus import Sample, read_corpus, sample_id, write_corpus
from autophage.store.lock import RunLock, is_locked
from autophage.store.manifest import Metric, check, committed
from autophage.store.metrics_table import is_current, read_metrics_table
from autophage.store.rundir import EventLog, RunDirectory, read_events
from autophage.store.seal import sealed
from autophage.store.weights import Weights


def make_samples(generation: int, count: int = 5) -> list[Sample]:
    samples = []
    for index in range(count):
        values = np.arange(index, dtype=np.float32)  # the first has no token at all
        samples.append(
            Sample(
                sample_id=sample_id(1, "a", generation, index, [1], 7),
                prompt="<s>",
                text=f"\u2603 {index}\n\0",
                prompt_ids=[1],
                token_ids=list(range(index)),
                finish_reason="stop",
                seed=2**62 + index,
                logprob=-values,
                entropy=values,
                varentropy=values,
                max_prob=values,
                rank=np.arange(index, dtype=np.int64),
            )
        )
    return samples


CANARY = CanaryRecord(1e-6, 2e-7, 5e-7, staleness=0.01, staleness_error=0.02)


def make(generation: int) -> Generation:
    adapter = Weights(f"weights of {generation}".encode(), {"r": 8})
    metrics = [Metric("fluency/ppl_human", 2.0 + generation, 1.9, 2.1, 10)]
    return Generation("a", generation, adapter, f"a@{generation}", make_samples(generation), metrics, CANARY, 1)


def commit(run: RunDirectory, generation: int) -> None:
    commit_generation(run, make(generation), level="exact", versions={"torch": "2"}, arms=["a"])


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_what_is_committed_is_read_back(run: RunDirectory) -> None:
    for generation in range(3):
        commit(run, generation)
    assert [manifest.generation for manifest in committed(run, "a")] == [0, 1, 2]
    assert committed_weights(run, "a", 1) == make(1).weights
    for own, found in zip(make_samples(2), committed_samples(run, "a", 2), strict=True):
        for name, value in vars(own).items():
            np.testing.assert_array_equal(getattr(found, name), value)
    assert [check(run, "a", generation) for generation in range(3)] == [[], [], []]
    assert read_metrics_table(run).column("value").to_pylist() == [2.0, 3.0, 4.0]


def test_an_interval_that_does_not_exist_is_null_in_both_places(run: RunDirectory) -> None:
    """One accepted sample has a weight and no spread."""
    made = replace(make(0), metrics=[Metric("gate/weight", 1.0, math.nan, math.nan, 1)])
    commit_generation(run, made, level="exact", versions={}, arms=["a"])
    assert read_metrics_table(run).column("low").to_pylist() == [None]
    assert is_current(run, ["a"])


def test_a_committed_generation_is_never_overwritten(run: RunDirectory) -> None:
    commit(run, 0)
    with pytest.raises(StoreError, match="is committed and would be overwritten"):
        commit(run, 0)


@pytest.mark.parametrize("name", ["corpus-00000.parquet", "metrics.json", "adapter/adapter_model.safetensors"])
def test_a_changed_or_missing_file_is_found(run: RunDirectory, name: str) -> None:
    commit(run, 0)
    path = run.generation("a", 0) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "sha256" in check(run, "a", 0)[0]
    path.write_bytes(bytes(content) + b" ")
    assert "bytes" in check(run, "a", 0)[0]
    path.unlink()
    assert "is missing" in check(run, "a", 0)[0]


def test_a_parent_that_was_exchanged_is_found(run: RunDirectory) -> None:
    commit(run, 0)
    commit(run, 1)
    path = run.generation("a", 0) / "manifest.json"
    path.write_text(path.read_text().replace('"torch": "2"', '"torch": "3"'))
    assert any("parent" in fault for fault in check(run, "a", 1))


def _die_at(folder: str, n: int) -> None:
    """Commit generation 1, and die without a word at the n-th fsync, rename or removal."""
    calls = 0

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == n:
                os._exit(9)
            return real(*args, **kwargs)

        return wrapped

    for name in ("fsync", "replace", "unlink", "mkdir", "rmdir"):
        setattr(os, name, counting(getattr(os, name)))
    commit(RunDirectory(folder), 1)


def test_dying_at_every_step_of_a_commit_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    survived = False
    for n in range(1, 200):
        run = RunDirectory(tmp_path / str(n))
        commit(run, 0)
        process = multiprocessing.get_context("fork").Process(target=_die_at, args=(str(run.root), n))
        process.start()
        process.join()
        done = len(committed(run, "a"))
        assert done in (1, 2)
        assert all(check(run, "a", generation) == [] for generation in range(done))
        read_metrics_table(run)
        manifests.tidy(run)
        assert list(run.root.rglob(f"*{TEMPORARY}")) == []
        if done == 1:
            commit(run, 1)
        assert check(run, "a", 1) == []
        assert [row["sample_id"] for row in read_corpus(manifests.shards(run, committed(run, "a")[1])).to_pylist()] == [
            sample.sample_id for sample in make_samples(1)
        ]
        if process.exitcode == 0:
            survived = True
            break
    assert survived, "the commit has more steps than were tried"
    assert n > 15, "the steps were not counted"


def test_many_samples_make_many_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autophage.store.corpus.ROWS_PER_SHARD", 2)
    paths = write_corpus(tmp_path, make_samples(0))
    assert [path.name for path in paths] == ["corpus-00000.parquet", "corpus-00001.parquet", "corpus-00002.parquet"]
    assert read_corpus(paths).column("seed").to_pylist() == [2**62 + index for index in range(5)]


def test_no_samples_make_an_empty_corpus(tmp_path: Path) -> None:
    assert read_corpus(write_corpus(tmp_path, [])).num_rows == 0


def test_a_torn_event_is_skipped_and_the_next_one_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "note"}\n{"kind": "comm')
    EventLog(path).append({"kind": "run-start"})
    assert [event["kind"] for event in read_events(path)] == ["note", "run-start"]


def test_the_lock_keeps_others_out_and_says_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_locked(path)
    with RunLock(path):
        assert is_locked(path)
        with pytest.raises(UserError, match=f"pid {os.getpid()}"), RunLock(path):
            pass
    assert not is_locked(path)


def test_a_manifest_of_another_format_is_refused(run: RunDirectory) -> None:
    commit(run, 0)
    path = run.generation("a", 0) / "manifest.json"
    data = json.loads(path.read_text())
    del data["seal"]
    path.write_text(sealed({**data, "format": 99}, 1))
    with pytest.raises(StoreError, match="format 99"):
        committed(run, "a")


@pytest.mark.parametrize("name", ["logprob", "entropy", "varentropy", "max_prob", "rank"])
def test_a_sample_that_lacks_a_statistic_is_none(name: str) -> None:
    sample = make_samples(0)[3]
    with pytest.raises(StoreError, match=f"3 tokens with 2 values of {name}"):
        replace(sample, **{name: getattr(sample, name)[:-1]})
