"""Tasks of lm-evaluation-harness as metrics of a generation's own weights."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autophage.errors import RunError, UserError
from autophage.recipe import load_recipe
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.measure import MeasureTable
from autophage.stages.harness import check_tasks, harness_metrics
from autophage.stages.workbench import Workbench
from autophage.trainer.resident import ResidentModel

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("smoke", ["base.tokens=30_000", "sweep={}"]).recipe


@pytest.fixture(scope="module")
def bench(recipe: Recipe, workbench: Callable[[Recipe], Workbench]) -> Workbench:
    return workbench(recipe)


@pytest.fixture(scope="module")
def tasks(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one task, `who`: the word that continues a statement."""
    folder = tmp_path_factory.mktemp("tasks")
    documents = [bench.tokenizer.decode(one.token_ids[1:7]) for one in bench.source.held_out()[:12]]
    rows = [{"text": text, "words": ["is", "chess"], "right": 0} for text in documents]
    (folder / "who.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (folder / "who.yaml").write_text(
        "\n".join(
            [
                "task: who",
                "dataset_path: json",
                f"dataset_kwargs: {{data_files: {{test: {folder / 'who.jsonl'}}}}}",
                "output_type: multiple_choice",
                "test_split: test",
                "doc_to_text: '{{text}}'",
                "doc_to_choice: '{{words}}'",
                "doc_to_target: right",
                "metric_list: [{metric: acc}]",
            ]
        ),
        "utf-8",
    )
    return folder


def test_a_task_is_a_metric_of_the_loaded_weights(bench: Workbench, recipe: Recipe, tasks: Path) -> None:
    measure = MeasureTable(harness=["who"], harness_path=str(tasks))
    check_tasks(measure)
    bench.resident.load(bench.resident.base_weights())
    canary = bench.source.held_out()[0].token_ids
    (found,) = harness_metrics(bench.resident, measure, canary, 1)
    assert (found.metric, found.n) == ("harness/who.acc", 12)
    right = 0
    for one in bench.source.held_out()[:12]:
        prompt = bench.tokenizer.encode(bench.tokenizer.decode(one.token_ids[1:7]), add_special_tokens=False)
        words = [bench.tokenizer.encode(f" {word}", add_special_tokens=False) for word in ("is", "chess")]
        scored = bench.resident.score([prompt + word for word in words], [len(prompt)] * 2)
        right += float(scored[0].logprob.sum()) > float(scored[1].logprob.sum())
    assert found.value == pytest.approx(right / 12)
    assert found.low is not None
    assert found.low <= found.value


def test_other_weights_are_found_out(bench: Workbench, tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A harness without the adapter's weights stops before it measures."""
    import lm_eval.models.huggingface as harness

    other = ResidentModel(bench.resident.path, bench.recipe)
    with torch.no_grad():
        for parameter in other.live.parameters.values():
            parameter.add_(0.05)

    class Quiet(harness.HFLM):  # type: ignore[misc]
        def __init__(self, pretrained: object, **rest: object) -> None:
            super().__init__(pretrained=other.model, **rest)

    monkeypatch.setattr(harness, "HFLM", Quiet)
    bench.resident.load(bench.resident.base_weights())
    measure = MeasureTable(harness=["who"], harness_path=str(tasks))
    with pytest.raises(RunError, match="holds other weights"):
        harness_metrics(bench.resident, measure, bench.source.held_out()[0].token_ids, 1)


def test_a_task_that_is_not_there_is_refused(tasks: Path) -> None:
    with pytest.raises(UserError, match=r"no task 'whoo'\. Did you mean who"):
        check_tasks(MeasureTable(harness=["whoo"], harness_path=str(tasks)))
    with pytest.raises(UserError, match="there is no such folder"):
        check_tasks(MeasureTable(harness=["who"], harness_path=str(tasks / "nothing")))


@pytest.mark.long
def test_a_run_has_it(autophage: Run, tasks: Path, tmp_path: Path) -> None:
    settings = [
        "measure.harness=['who']",
        f"measure.harness_path={tasks}",
        "measure.harness_limit=5",
        "generations=1",
        "sweep={}",
    ]
    done = autophage("run", "smoke", *(word for one in settings for word in ("--set", one)), "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "run/arms/main/gen-001/metrics.json").read_text("utf-8"))
    (row,) = [row for row in rows if row["metric"] == "harness/who.acc"]
    assert row["n"] == 5
    assert math.isfinite(row["value"])
