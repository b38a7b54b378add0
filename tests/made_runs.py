"""Run directories written by the store itself, without model, sampler or trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autophage.recipe import load_recipe, resolved_toml
from autophage.store.atomic import sha256, write_text
from autophage.store.corpus import Sample, sample_id, write_corpus
from autophage.store.manifest import MANIFEST, Manifest, Metric, describe_files, write_manifest, write_metrics
from autophage.store.metrics_table import write_metrics_table
from autophage.store.rundir import EventLog, RunDirectory

RECIPE = """
name = "tiny"
description = "a run for tests"
generations = 2

[sample]
count = 3
"""

COUNTS = {"samples": 3, "accepted": 3, "rejected": 0}

RunMaker = Callable[..., RunDirectory]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, "utf-8")
    return path


@pytest.fixture
def make_run(tmp_path: Path, recipe_file: Path) -> RunMaker:
    """`make_run(main=3, control=2)`: a run directory with that many committed generations of each arm."""

    def make(end: str = "run-end", **committed: int) -> RunDirectory:
        run = RunDirectory(tmp_path / "run")
        run.root.mkdir()
        write_text(run.recipe, resolved_toml(load_recipe(str(recipe_file))))
        log = EventLog(run.events)
        log.append(
            {
                "kind": "run-start",
                "time": 1.0,
                "name": "tiny",
                "arms": ["main", "control"],
                "controls": ["control"],
                "generations": 2,
                "devices": "serial",
                "committed": {},
            }
        )
        for arm, count in committed.items():
            for generation in range(count):
                metrics = commit(run, arm, generation)
                values = {metric.metric: metric.value for metric in metrics}
                log.append({"kind": "commit", "time": 1.0, "arm": arm, "generation": generation, "metrics": values})
        write_metrics_table(run, list(committed))
        if end == "run-end":
            log.append({"kind": "run-end", "time": 1.0, "seconds": 12.5})
        elif end == "interrupted":
            log.append({"kind": "interrupted", "time": 1.0, "reason": "Ctrl-C"})
        return run

    return make


def commit(run: RunDirectory, arm: str, generation: int) -> list[Metric]:
    folder = run.generation(arm, generation)
    folder.mkdir(parents=True)
    write_corpus(folder, [_sample(arm, generation, index) for index in range(3)])
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}", "utf-8")
    loss = generation if arm == "main" else 0
    metrics = [
        Metric("knowledge/accuracy.torso", 0.87 - 0.2 * loss, 0.1, 0.9, 600),
        Metric("fluency/ppl_form", 1.25 + 0.1 * loss),
        Metric("onpolicy/entropy", 0.5 - 0.1 * loss),
    ]
    write_metrics(folder, metrics)
    parent = None if generation == 0 else sha256(run.generation(arm, generation - 1) / MANIFEST)
    manifest = Manifest(arm, generation, parent, describe_files(folder), COUNTS, {"run": 1}, {}, {}, "statistical")
    write_manifest(folder, manifest)
    return metrics


def _sample(arm: str, generation: int, index: int) -> Sample:
    values = np.zeros(2, np.float32)
    return Sample(
        sample_id=sample_id(1, arm, generation, index, [1], index),
        prompt="",
        text="a b",
        prompt_ids=[1],
        token_ids=[5, 6],
        finish_reason="stop",
        seed=index,
        logprob=values,
        entropy=values,
        varentropy=values,
        max_prob=values,
        rank=np.ones(2, np.int64),
    )
