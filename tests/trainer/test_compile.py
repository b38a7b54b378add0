"""Training with compiled decoder layers: the same results up to rounding, and one compilation for all fits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch._dynamo.utils import counters

from autophage.data.build import bind, read_source
from autophage.data.mix import TrainingRow
from autophage.errors import RunError
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.trainer import layers
from autophage.trainer.attention import VARIABLE
from autophage.trainer.base_model import ensure_base_model
from autophage.trainer.fit import FitRequest, Fitted
from autophage.trainer.layers import decoder_layers
from autophage.trainer.resident import ResidentModel

pytestmark = pytest.mark.thorough

RECIPE = Recipe(
    name="t",
    model=ModelTable(rank=4),
    base=BaseTable(hidden_size=64, layers=2, heads=2, tokens=20_000),
    source=SourceTable(people=12, held_out_documents=8),
    train=TrainTable(batch_size=8, learning_rate=1e-2),
)


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> ResidentModel:
    patch = pytest.MonkeyPatch()
    patch.setenv("AUTOPHAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
    path = ensure_base_model(RECIPE, read_source(RECIPE), Meter())
    patch.undo()
    return ResidentModel(str(path), RECIPE)


@pytest.fixture(scope="module")
def rows(resident: ResidentModel) -> list[TrainingRow]:
    source = bind(read_source(RECIPE), resident.tokenizer, RECIPE)
    return [TrainingRow(item.prompt_ids + item.continuation_ids, 1) for item in source.items(5, 30)]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def fit(resident: ResidentModel, rows: list[TrainingRow], *, compile: bool) -> Fitted:
    train = RECIPE.train.model_copy(update={"compile": compile})
    return resident.fit(FitRequest(resident.base_weights(), rows, RECIPE.model_copy(update={"train": train}), 3))


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=[pytest.mark.long, pytest.mark.slow])])
def test_layers_are_compiled_once(
    resident: ResidentModel, rows: list[TrainingRow], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CI traces the layers. On request they are compiled to machine code, which takes minutes."""
    monkeypatch.setattr(layers, "BACKEND", backend)
    plain = fit(resident, rows, compile=False)
    assert counters["stats"]["unique_graphs"] == 0
    found = fit(resident, rows, compile=True)
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 0
    for one, other in zip(plain.steps, found.steps, strict=True):
        assert other.loss == pytest.approx(one.loss, abs=1e-5)
    # Another order and other lengths, of another generation.
    assert fit(resident, rows, compile=True).weights == found.weights
    fit(resident, [TrainingRow(row.token_ids[: 5 + place], 1) for place, row in enumerate(rows)], compile=True)
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]
    # Scoring and training without the setting run the layers as they are.
    assert all(layer._compiled_call_impl is None for layer in decoder_layers(resident.model.get_base_model()))
    assert fit(resident, rows, compile=False).weights == plain.weights


def test_documents_in_one_row_are_compiled_around_their_attention(
    resident: ResidentModel, rows: list[TrainingRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attention stays as it is. Documents of other lengths compile nothing anew."""
    monkeypatch.setattr(layers, "BACKEND", "eager")
    base = resident.model.get_base_model()
    base.set_attn_implementation(VARIABLE)
    try:
        plain, found = (fit(resident, rows, compile=compile) for compile in (False, True))
        graphs = counters["stats"]["unique_graphs"]
        assert graphs > 0
        for one, other in zip(plain.steps, found.steps, strict=True):
            assert other.loss == pytest.approx(one.loss, abs=1e-5)
        fit(resident, [TrainingRow(row.token_ids[: 5 + place], 1) for place, row in enumerate(rows)], compile=True)
        assert counters["stats"]["unique_graphs"] == graphs
    finally:
        base.set_attn_implementation("sdpa")


def test_a_model_that_declares_no_layers_is_refused() -> None:
    with pytest.raises(RunError, match="does not declare its layers"):
        decoder_layers(torch.nn.Linear(1, 1))
