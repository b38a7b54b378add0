"""Running out of memory shrinks micro-batches and changes no result: same steps, same rows, same documents."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autophage.data.build import bind, read_source
from autophage.data.mix import TrainingRow
from autophage.errors import RunError
from autophage.host.devices import out_of_memory
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.stages.workbench import Workbench
from autophage.trainer.fit import FitRequest
from autophage.trainer.micro_batches import MicroBatchSize
from autophage.trainer.resident import ResidentModel
from autophage.trainer.sft import WatchedTrainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BATCH, HELD = 8, 3
RECIPE = Recipe(
    name="t",
    model=ModelTable(rank=4),
    base=BaseTable(hidden_size=64, layers=2, heads=2, tokens=20_000),
    source=SourceTable(people=12, held_out_documents=8),
    train=TrainTable(batch_size=BATCH, learning_rate=1e-3, schedule="constant"),
)


@pytest.fixture(scope="module")
def bench(workbench: Callable[[Recipe], Workbench]) -> Workbench:
    return workbench(RECIPE)


@pytest.fixture
def resident(bench: Workbench) -> ResidentModel:
    bench.resident.micro_batch = MicroBatchSize()
    return bench.resident


@pytest.fixture
def rows(bench: Workbench) -> list[TrainingRow]:
    source = bind(read_source(RECIPE), bench.tokenizer, RECIPE)
    return [TrainingRow(item.prompt_ids + item.continuation_ids, 1) for item in source.items(5, 30)]


class Watched:
    """A fit with the statistics and gradient norm of every step, and the scores at the end."""

    def __init__(
        self, resident: ResidentModel, rows: list[TrainingRow], packing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.norms: list[float] = []
        whole = WatchedTrainer._get_grad_norm

        def norm(trainer: WatchedTrainer, *arguments: Any, **named: Any) -> Any:
            found = whole(trainer, *arguments, **named)
            self.norms.append(float(found))
            return found

        settings = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"packing": packing})})
        with monkeypatch.context() as patch:
            patch.setattr(WatchedTrainer, "_get_grad_norm", norm)
            self.steps = resident.fit(FitRequest(resident.base_weights(), rows, settings, 3)).steps
        scored = resident.score([row.token_ids for row in rows], [1] * len(rows))
        self.scores = np.concatenate([one.logprob for one in scored])

    def equals(self, other: Watched) -> None:
        assert len(self.norms) == len(other.norms) == len(self.steps) == -(-30 // BATCH)
        np.testing.assert_allclose(self.norms[0], other.norms[0], rtol=1e-4)
        assert [step.tokens for step in self.steps] == [step.tokens for step in other.steps]
        np.testing.assert_allclose([step.loss for step in self.steps], [step.loss for step in other.steps], rtol=1e-3)
        np.testing.assert_allclose(self.scores, other.scores, atol=2e-2)


def limited(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """Simulate memory for `held` documents at a time."""
    whole = WatchedTrainer.compute_loss

    def loss(trainer: WatchedTrainer, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        rows = len(inputs["input_ids"]) if "attention_mask" in inputs else int((inputs["position_ids"] == 0).sum())
        if rows > held:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return whole(trainer, model, inputs, *arguments, **named)

    monkeypatch.setattr(WatchedTrainer, "compute_loss", loss)


@pytest.mark.parametrize("packing", ["padded", "padding-free"])
def test_a_step_in_portions_is_the_same_step(
    packing: str, resident: ResidentModel, rows: list[TrainingRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Watched(resident, rows, packing, monkeypatch)
    assert resident.micro_batch == MicroBatchSize()
    limited(monkeypatch, HELD)
    Watched(resident, rows, packing, monkeypatch).equals(whole)
    assert resident.micro_batch.rows == 2  # of 8: 4 are too many, 2 are not


def test_what_a_failed_try_left_behind_does_not_count(
    resident: ResidentModel, rows: list[TrainingRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out in the backward pass, after a part of the gradient has been added."""
    whole = Watched(resident, rows, "padded", monkeypatch)
    gradient = WatchedTrainer._gradient
    failed: list[bool] = []

    def failing(trainer: WatchedTrainer, *arguments: Any) -> torch.Tensor:
        found = gradient(trainer, *arguments)
        if not failed:
            failed.append(True)
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        return found

    monkeypatch.setattr(WatchedTrainer, "_gradient", failing)
    Watched(resident, rows, "padded", monkeypatch).equals(whole)
    assert failed


def test_it_is_said_once_and_remembered(
    bench: Workbench, resident: ResidentModel, rows: list[TrainingRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, HELD)
    Watched(resident, rows, "padded", monkeypatch)
    [note] = bench.notes()
    assert note.startswith("out of memory in training: documents are computed 2 at a time")
    assert f"still takes {BATCH}" in note
    Watched(resident, rows, "padded", monkeypatch)
    assert bench.notes() == []


def test_one_document_that_does_not_fit_is_the_end(
    resident: ResidentModel, rows: list[TrainingRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 0)
    with pytest.raises(RunError, match="with one document at a time") as refusal:
        Watched(resident, rows, "padded", monkeypatch)
    assert "model.rank" in str(refusal.value)


def test_other_errors_are_not_taken_for_it(
    resident: ResidentModel, rows: list[TrainingRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(WatchedTrainer, "compute_loss", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Watched(resident, rows, "padded", monkeypatch)
    assert resident.micro_batch.rows is None


def test_what_out_of_memory_looks_like() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 62, dtype=torch.uint8)
    assert out_of_memory(real.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shapes"))
    assert not out_of_memory(ValueError("can't allocate memory"))


SAMPLER = '''
"""In a process of its own: vLLM changes global state of the process it runs in."""
from autophage.host import environment
environment.apply()
import sys
import numpy as np, torch
from autophage.data.build import read_source
from autophage.errors import RunError
from autophage.progress import Meter
from autophage.stages.facts import model_path
from autophage.recipe import load_recipe
from autophage.sampler.engine import Sampler
from autophage.sampler.protocol import Decoding, Job, Request
from autophage.stages.workbench import Workbench

loaded = load_recipe("smoke")
source = read_source(loaded.recipe)
bench = Workbench(loaded.recipe, source, model_path(loaded.recipe, source, Meter()))
sampler = Sampler(bench.engine_settings(loaded.arms))
served = sampler.install("test@0", bench.base_weights(loaded.arms[0]))
prompt = bench.canary_prompts[0][:1]
job = Job(served, [Request(prompt, seed) for seed in range(40)], Decoding(24, 1.0, 1.0, 0, (2,)))
[whole] = sampler.sample([job], lambda *_: None)
runner = sampler._engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
execute, finish = runner.execute_model, runner.sample_tokens
held, most, steps = 11, 0, 0


def limited_execute(scheduled, *rest, **named):
    global most
    if len(scheduled.num_scheduled_tokens) > held:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    most = max(most, len(scheduled.num_scheduled_tokens))
    return execute(scheduled, *rest, **named)


def failing_finish(*rest, **named):
    global steps
    steps += 1
    if steps == 7:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return finish(*rest, **named)


def same(found):
    assert [one.token_ids for one in found] == [one.token_ids for one in whole]
    for one, other in zip(found, whole, strict=True):
        for name in ("logprob", "entropy", "varentropy", "max_prob"):
            np.testing.assert_allclose(getattr(one.statistics, name), getattr(other.statistics, name), atol=1e-4)


seen = []
runner.execute_model = limited_execute
same(sampler.sample([job], lambda _, place, ids: seen.append(place))[0])
assert sorted(seen) == list(range(40)), "a document ended twice, or never"
assert 0 < most <= held
[note] = sampler.notes()
assert "documents are written 10 at a time" in note, note
assert sampler.notes() == []
same(sampler.sample([job], lambda *_: None)[0])
assert sampler.notes() == [], "said twice"

runner.sample_tokens = failing_finish  # between the two halves of a step
same(sampler.sample([job], lambda *_: None)[0])
assert "written 5 at a time" in sampler.notes()[0]
assert sampler.canary(served, bench.canary_prompts)

held = 0
try:
    sampler.sample([job], lambda *_: None)
except RunError as error:
    assert "with one document at a time" in str(error), error
else:
    sys.exit("sampled without memory")
print("memory holds")
'''


def test_sampling_in_a_smaller_window_writes_the_same_documents(variables: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "sampler.py"
    script.write_text(SAMPLER, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], env=variables, capture_output=True, text=True, check=False)
    assert "memory holds" in done.stdout, done.stdout[-1000:] + done.stderr[-3000:]
