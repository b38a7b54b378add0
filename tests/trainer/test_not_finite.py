"""A loss or gradient that is not finite stops before the step. Its batch is written for inspection."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from autophage.errors import RunError
from autophage.progress import Meter
from autophage.recipe.arms import Arm, expand
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import MixTable
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.sample import SampleTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.stages.workbench import Workbench
from autophage.store.weights import Weights

pytestmark = pytest.mark.thorough

RECIPE = Recipe(
    name="t",
    model=ModelTable(rank=4),
    base=BaseTable(hidden_size=64, layers=2, heads=2, tokens=20_000),
    source=SourceTable(people=12, held_out_documents=8),
    sample=SampleTable(count=24),
    mix=MixTable(alpha=0.0),
    train=TrainTable(batch_size=8, epochs=1),
)


@pytest.fixture(scope="module")
def shared(workbench: Callable[[Recipe], Workbench]) -> Workbench:
    return workbench(RECIPE)


@pytest.fixture
def bench(shared: Workbench, tmp_path: Path) -> Workbench:
    shared.fitting.inspection = tmp_path / "logs"
    return shared


@pytest.fixture
def arm() -> Arm:
    return expand(RECIPE)[0]


def fit(bench: Workbench, arm: Arm) -> Weights:
    return bench.fit(arm, 1, bench.base_weights(arm), {0: []}, Meter()).weights


def kept(error: pytest.ExceptionInfo[RunError]) -> Path:
    found = re.search(r"Its batch is in (\S+\.parquet): 8 documents", str(error.value))
    assert found, error.value
    return Path(found[1])


def test_the_batch_of_a_broken_loss_is_kept(bench: Workbench, arm: Arm) -> None:
    words = Counter(token for item in bench.source.items(1, 50) for token in set(item.continuation_ids[:-1]))
    word = next(token for token, count in words.most_common() if count < 25)

    def poison(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        return output.masked_fill((inputs[0] == word)[..., None], math.nan)

    # Hook the module: its weight is the head's too.
    hook = bench.resident.model.get_base_model().get_input_embeddings().register_forward_hook(poison)
    try:
        with pytest.raises(RunError, match=r"control, generation 1: the training loss is nan at step 1 of 3") as error:
            fit(bench, arm)
    finally:
        hook.remove()
    assert "stopped before the optimizer step" in str(error.value)
    path = kept(error)
    assert path.name == "not-finite-control-gen-001-step-1.parquet"
    rows = pq.read_table(path).to_pylist()
    assert [row["place"] for row in rows] == list(range(8))
    poisoned = 0
    for row in rows:
        assert bench.tokenizer.decode(row["token_ids"]) == row["text"]
        assert len(row["token_ids"]) == len(row["trained"]) == len(row["logprob"])
        assert row["trained"] == [False] + [True] * (len(row["trained"]) - 1)
        bad = [value is not None and math.isnan(value) for value in row["logprob"]]
        # A mask does not stop a NaN, so its whole document is lost. The other documents are not.
        if word not in row["token_ids"]:
            assert not any(bad)
        elif word in row["token_ids"][:-1]:
            assert bad[-1]
            poisoned += 1
    assert 0 < poisoned < 8
    assert fit(bench, arm).digest, "the model can be trained again"


def test_a_finite_loss_with_a_broken_gradient_stops_before_the_step(bench: Workbench, arm: Arm) -> None:
    start = bench.base_weights(arm)
    whole = bench.resident.tensors(start)
    parameters = bench.resident.live.parameters
    hook = next(iter(parameters.values())).register_hook(lambda gradient: gradient * math.inf)
    try:
        with pytest.raises(RunError, match=r"norm of the gradient is (nan|inf) at step 1 of 3") as error:
            fit(bench, arm)
    finally:
        hook.remove()
    assert all(torch.equal(parameter, whole[name]) for name, parameter in parameters.items()), "a step was taken"
    path = kept(error)
    assert path.name == "not-finite-control-gen-001-step-1.parquet"
    for row in pq.read_table(path).to_pylist():
        known = [value for value, trained in zip(row["logprob"], row["trained"], strict=True) if trained]
        assert all(math.isfinite(value) for value in known)


def test_without_a_folder_it_stops_all_the_same(bench: Workbench, arm: Arm) -> None:
    bench.fitting.inspection = None
    bench.base_weights(arm)
    hook = next(iter(bench.resident.live.parameters.values())).register_hook(lambda gradient: gradient * math.nan)
    try:
        with pytest.raises(RunError, match="norm of the gradient is nan") as error:
            fit(bench, arm)
    finally:
        hook.remove()
    assert "parquet" not in str(error.value)
