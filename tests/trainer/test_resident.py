"""The resident model on a tiny base: repeatable training, honest step statistics, correct scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autophage.data.base_folder import base_model_folder
from autophage.data.build import bind, read_source
from autophage.data.mix import TrainingRow
from autophage.errors import RunError, UserError
from autophage.metrics.scored import Scored
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.trainer.base_model import ensure_base_model
from autophage.trainer.fit import FitRequest
from autophage.trainer.micro_batches import MicroBatchSize
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
    raw, meter = read_source(RECIPE), Meter()
    folder = ensure_base_model(RECIPE, raw, meter)
    assert meter.progress.done == meter.progress.total == meter.progress.tokens > 15_000
    assert ensure_base_model(RECIPE, raw, Meter(lambda _: pytest.fail("trained again"))) == folder
    patch.undo()
    return ResidentModel(str(folder), RECIPE)


@pytest.fixture(scope="module")
def rows(resident: ResidentModel) -> list[TrainingRow]:
    source = bind(read_source(RECIPE), resident.tokenizer, RECIPE)
    return [TrainingRow(item.prompt_ids + item.continuation_ids, 1) for item in source.items(5, 30)]


def fit(resident: ResidentModel, rows: list[TrainingRow], recipe: Recipe = RECIPE, seed: int = 3) -> str:
    return resident.fit(FitRequest(resident.base_weights(), rows, recipe, seed)).weights.digest


def test_training_is_a_function_of_its_arguments(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    first = fit(resident, rows)
    other = fit(resident, rows[::-1])
    assert fit(resident, rows) == first != other
    assert fit(ResidentModel(resident.path, RECIPE), rows) == first


@pytest.mark.parametrize("packing", ["padded", "padding-free"])
@pytest.mark.parametrize("held", [None, 2])
def test_a_weight_counts_as_so_many_documents(
    resident: ResidentModel, rows: list[TrainingRow], packing: str, held: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights 3 and 1 give the step of a batch that holds one document three times."""
    monkeypatch.setattr(resident, "micro_batch", MicroBatchSize(held))
    train = RECIPE.train.model_copy(update={"packing": packing, "schedule": "constant"})
    recipe = RECIPE.model_copy(update={"train": train})
    chosen = rows[:6]
    weighted = [replace(chosen[0], weight=3.0), *chosen[1:]]
    trained = []
    for batch in (weighted, [chosen[0], *chosen], [chosen[0], chosen[0], *chosen], chosen):
        fit(resident, batch, recipe)
        trained.append(resident.score([row.token_ids for row in chosen], [1] * 6))
    apart = [
        max(float(np.abs(a.logprob - b.logprob).max()) for a, b in zip(trained[0], other, strict=True))
        for other in trained
    ]
    assert apart[2] < 1e-4 < 1e-3 < apart[1] < apart[3]


def test_weights_of_1_change_no_bit(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    assert fit(resident, [replace(row, weight=1.0) for row in rows]) == fit(resident, rows)


def test_each_step_says_what_the_model_made_of_its_tokens(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    steps = resident.fit(FitRequest(resident.base_weights(), rows, RECIPE, 3)).steps
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))
    assert sum(step.tokens for step in steps) == sum(len(row.token_ids) - row.context for row in rows)
    # The first step sees the untrained adapter, so its statistics are those of scoring its rows.
    resident.load(resident.base_weights())
    first = rows[: RECIPE.train.batch_size]
    scored = resident.score([row.token_ids for row in first], [row.context for row in first])
    for name, sign in (("logprob", -1), ("entropy", 1), ("varentropy", 1), ("rank", 1)):
        expected = sign * np.concatenate([getattr(one, name) for one in scored]).mean()
        assert getattr(steps[0], "loss" if name == "logprob" else name) == pytest.approx(expected, rel=1e-4)


def test_nothing_is_left_on_the_model(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    for _ in range(3):
        fit(resident, rows)
    base = resident.model.get_base_model()
    assert "forward" not in base.__dict__
    assert not base.is_gradient_checkpointing
    assert not base.get_input_embeddings()._forward_hooks
    assert not base.training


def test_only_the_adapter_is_trained(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    def base_weights() -> dict[str, torch.Tensor]:
        return {name: p.clone() for name, p in resident.model.named_parameters() if "lora" not in name}

    before = base_weights()
    fit(resident, rows)
    assert all(torch.equal(weight, before[name]) for name, weight in base_weights().items())


def test_the_loss_ignores_the_context(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    """Tokens of a context that the model cannot see must not matter. Tokens with loss must."""
    whole = [TrainingRow(row.token_ids, 1) for row in rows]
    half = [TrainingRow(row.token_ids, len(row.token_ids) // 2) for row in rows]
    none = [TrainingRow(row.token_ids, len(row.token_ids)) for row in rows]
    assert fit(resident, whole) != fit(resident, half)
    assert fit(resident, none) == resident.base_weights().digest


def test_padding_free_equals_padded_to_rounding(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    def scores(packing: str) -> list[Scored]:
        settings = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"packing": packing})})
        fit(resident, rows, settings)
        return resident.score([row.token_ids for row in rows], [1] * len(rows))

    for padded, flat in zip(scores("padded"), scores("padding-free"), strict=True):
        np.testing.assert_allclose(padded.logprob, flat.logprob, atol=2e-2)


def test_an_empty_corpus_leaves_the_adapter_as_it_was(resident: ResidentModel) -> None:
    assert fit(resident, []) == resident.base_weights().digest


def test_a_loss_that_is_not_finite_stops_before_the_step(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    weight = resident.model.get_base_model().get_input_embeddings().weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[rows[0].token_ids[1]] = float("nan")
        with pytest.raises(RunError, match="loss is nan at step"):
            fit(resident, rows)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert fit(resident, rows)


def test_scores_are_those_of_a_plain_forward_pass(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    fit(resident, rows)
    contexts = [1 + index % 5 for index in range(len(rows))]
    for row, context, scored in zip(rows, contexts, resident.score([r.token_ids for r in rows], contexts), strict=True):
        with torch.no_grad():
            log_p = resident.model(torch.tensor([row.token_ids])).logits[0].double().log_softmax(-1)
        expected = log_p[context - 1 : -1].gather(1, torch.tensor(row.token_ids[context:])[:, None])[:, 0]
        np.testing.assert_allclose(scored.logprob, expected.numpy(), atol=1e-5)
        entropy = -(log_p.exp() * log_p).sum(-1)[context - 1 : -1]
        np.testing.assert_allclose(scored.entropy, entropy.numpy(), atol=1e-5)


def test_a_choice_is_scored_as_if_it_had_followed(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    fit(resident, rows)
    prompts = [row.token_ids[: 2 + index % 7] for index, row in enumerate(rows)]
    choices = [[3 + (index + k) % 20 for k in range(1 + index % 4)] for index in range(len(rows))]
    meter = Meter()
    together = resident.score_choices(prompts, choices, meter)
    assert meter.progress.done == len(prompts)
    for prompt, tokens, found in zip(prompts, choices, together, strict=True):
        alone = resident.score([[*prompt, token] for token in tokens], [len(prompt)] * len(tokens))
        for name in ("logprob", "entropy", "varentropy", "max_prob", "rank", "argmax"):
            expected = np.concatenate([getattr(one, name) for one in alone])
            np.testing.assert_allclose(getattr(found, name), expected, atol=1e-5)


def test_the_cache_goes_by_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(tmp_path))
    other = RECIPE.model_copy(update={"source": SourceTable(people=12, held_out_documents=8, seed=1)})
    longer = RECIPE.model_copy(update={"base": RECIPE.base.model_copy(update={"tokens": 30_000})})
    trained = RECIPE.model_copy(update={"train": TrainTable(epochs=9)})
    folders = [base_model_folder(recipe, read_source(recipe)) for recipe in (RECIPE, other, longer, trained)]
    assert len(set(folders)) == 3
    assert folders[0] == folders[3]


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no tokenizer"):
        ResidentModel(str(tmp_path), RECIPE)
