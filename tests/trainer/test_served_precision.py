"""A LoRA adapter is scored as a sampler serves it: rounded to the type of the base, its product in that type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer

from autophage.data.build import bind, read_source
from autophage.data.mix import TrainingRow
from autophage.metrics.scored import Scored
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.store.weights import Weights
from autophage.trainer.base_model import ensure_base_model
from autophage.trainer.fit import FitRequest
from autophage.trainer.head import find_head
from autophage.trainer.inner_loop import InnerLoop
from autophage.trainer.loading import load_model
from autophage.trainer.resident import ResidentModel
from autophage.trainer.scoring import score
from autophage.trainer.variants import Variant

pytestmark = pytest.mark.thorough

RECIPE = Recipe(
    name="t",
    model=ModelTable(rank=4, dtype="bfloat16"),
    base=BaseTable(hidden_size=64, layers=2, heads=2, tokens=20_000),
    source=SourceTable(people=12, held_out_documents=8),
    train=TrainTable(batch_size=8, learning_rate=1e-2),
)
FLOAT32 = RECIPE.model_copy(update={"model": ModelTable(rank=4, dtype="float32")})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    patch = pytest.MonkeyPatch()
    patch.setenv("AUTOPHAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
    path = ensure_base_model(RECIPE, read_source(RECIPE), Meter())
    patch.undo()
    return str(path)


@pytest.fixture(scope="module")
def resident(folder: str) -> ResidentModel:
    return ResidentModel(folder, RECIPE)


@pytest.fixture(scope="module")
def rows(resident: ResidentModel) -> list[TrainingRow]:
    source = bind(read_source(RECIPE), resident.tokenizer, RECIPE)
    return [TrainingRow(item.prompt_ids + item.continuation_ids, 1) for item in source.items(5, 30)]


@pytest.fixture(scope="module")
def trained(resident: ResidentModel, rows: list[TrainingRow]) -> Weights:
    return resident.fit(FitRequest(resident.base_weights(), rows, RECIPE, 3)).weights


def layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def casting(model: Any) -> Iterator[None]:
    """PEFT's own way: activations are cast to the adapter's type."""
    for layer in layers(model):
        layer.cast_input_dtype_enabled = True
    try:
        yield
    finally:
        for layer in layers(model):
            layer.cast_input_dtype_enabled = False


def scores(resident: ResidentModel, rows: list[TrainingRow]) -> list[Scored]:
    return resident.score([row.token_ids for row in rows], [row.context for row in rows])


def apart(one: list[Scored], other: list[Scored]) -> float:
    return max(float(np.abs(a.logprob - b.logprob).max()) for a, b in zip(one, other, strict=True))


def test_scores_are_those_of_a_rounded_adapter_with_a_bfloat16_product(
    folder: str, resident: ResidentModel, rows: list[TrainingRow], trained: Weights
) -> None:
    resident.load(trained)
    found = scores(resident, rows)

    # A sampler's adapter: every tensor of it in bfloat16, and no autocast anywhere.
    config = LoraConfig(
        r=4, lora_alpha=trained.config["lora_alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    served = get_peft_model(load_model(folder, torch.bfloat16), config, autocast_adapter_dtype=False)
    tensors = safetensors.torch.load(trained.tensors)
    set_peft_model_state_dict(served, {name: one.bfloat16() for name, one in tensors.items()})
    assert {parameter.dtype for parameter in served.parameters()} == {torch.bfloat16}
    served.eval()
    wanted = score(find_head(served), [row.token_ids for row in rows], [row.context for row in rows], Meter())
    assert apart(found, wanted) == 0.0

    # The float32 adapter with cast activations is another model.
    resident._load(trained, rounded=False)
    with casting(resident.model):
        wide = score(
            replace(resident.head, compute=None), [r.token_ids for r in rows], [r.context for r in rows], Meter()
        )
    assert apart(wide, wanted) > 1e-3


def test_training_starts_from_the_unrounded_adapter(resident: ResidentModel, trained: Weights) -> None:
    resident.load(trained)
    assert resident.live.take() != trained
    resident._load(trained, rounded=False)
    assert resident.live.take() == trained


def test_the_gradient_is_that_of_cast_inputs_up_to_rounding(
    resident: ResidentModel, rows: list[TrainingRow], trained: Weights
) -> None:
    def gradient(variant: Variant) -> torch.Tensor:
        variant.put(safetensors.torch.load(trained.tensors), rounded=False)
        loop = InnerLoop(variant, rows[:8], 1, 1.0)
        parameters = list(resident.live.parameters.values())
        found = torch.autograd.grad(loop._surprisals(rows[:8]).mean(), parameters)
        assert {one.dtype for one in found} == {torch.float32}
        return torch.cat([one.flatten() for one in found])

    plain = gradient(resident.live)
    with casting(resident.model):
        cast = gradient(replace(resident.live, head=replace(resident.head, compute=None)))
    assert 0 < float((plain - cast).norm() / cast.norm()) < 0.05


def test_nothing_changes_in_float32(folder: str, rows: list[TrainingRow]) -> None:
    """The type of the adapter is that of the base: no autocast, no rounding, no cast."""
    resident = ResidentModel(folder, FLOAT32)
    assert resident.head.compute is None
    assert resident.live.scored is torch.float32
    plain = resident.fit(FitRequest(resident.base_weights(), rows, FLOAT32, 3))
    resident.load(plain.weights)
    assert resident.live.take() == plain.weights
    found = scores(resident, rows)
    with casting(resident.model):
        cast = resident.fit(FitRequest(resident.base_weights(), rows, FLOAT32, 3))
        assert cast.weights == plain.weights
        assert apart(scores(resident, rows), found) == 0.0
