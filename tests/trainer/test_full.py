"""Adapters of several ranks and full weights on one resident base. Each trains as if it were alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from autophage.data.build import bind, read_source
from autophage.data.mix import TrainingRow
from autophage.errors import UserError
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.store.training import StepStatistics
from autophage.store.weights import Weights
from autophage.trainer.base_model import ensure_base_model
from autophage.trainer.divergence import compare
from autophage.trainer.fit import FitRequest, Fitted
from autophage.trainer.resident import ResidentModel

pytestmark = pytest.mark.thorough

LORA_8 = Recipe(
    name="t",
    model=ModelTable(rank=8),
    base=BaseTable(hidden_size=64, layers=2, heads=2, tokens=20_000),
    source=SourceTable(people=12, held_out_documents=8),
    train=TrainTable(batch_size=8, learning_rate=1e-2),
)
LORA_32 = LORA_8.model_copy(update={"model": ModelTable(rank=32, lora_alpha=16)})
FULL = LORA_8.model_copy(
    update={"model": ModelTable(method="full"), "train": LORA_8.train.model_copy(update={"learning_rate": 1e-3})}
)
ARMS = {"rank 8": LORA_8, "rank 32": LORA_32, "full": FULL}


def carried(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"optimizer": "carried"})})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    patch = pytest.MonkeyPatch()
    patch.setenv("AUTOPHAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
    path = ensure_base_model(LORA_8, read_source(LORA_8), Meter())
    patch.undo()
    return str(path)


@pytest.fixture(scope="module")
def resident(folder: str) -> ResidentModel:
    return ResidentModel(folder, LORA_8)


@pytest.fixture(scope="module")
def rows(resident: ResidentModel) -> list[TrainingRow]:
    source = bind(read_source(LORA_8), resident.tokenizer, LORA_8)
    return [TrainingRow(item.prompt_ids + item.continuation_ids, 1) for item in source.items(5, 30)]


def two_generations(resident: ResidentModel, rows: list[TrainingRow], recipe: Recipe) -> tuple[str, str]:
    """Digests of models 1 and 2 of a cumulative chain."""
    first = fit(resident, rows[:16], recipe, resident.base_weights(recipe))
    return first.weights.digest, fit(
        resident, rows[16:], recipe, first.weights, optimizer=first.optimizer
    ).weights.digest


def fit(
    resident: ResidentModel, rows: list[TrainingRow], recipe: Recipe, start: Weights, optimizer: bytes | None = None
) -> Fitted:
    return resident.fit(FitRequest(start, rows, recipe, 3, optimizer))


@pytest.mark.parametrize("optimizer", ["fresh", "carried"])
def test_arms_that_take_turns_are_trained_as_if_alone(
    resident: ResidentModel, folder: str, rows: list[TrainingRow], optimizer: str
) -> None:
    arms = {name: carried(recipe) if optimizer == "carried" else recipe for name, recipe in ARMS.items()}
    firsts = {name: fit(resident, rows[:16], recipe, resident.base_weights(recipe)) for name, recipe in arms.items()}
    found = {
        name: (
            firsts[name].weights.digest,
            fit(resident, rows[16:], recipe, firsts[name].weights, optimizer=firsts[name].optimizer).weights.digest,
        )
        for name, recipe in reversed(arms.items())
    }
    assert found == {
        name: two_generations(ResidentModel(folder, recipe), rows, recipe) for name, recipe in arms.items()
    }
    assert len({digest for pair in found.values() for digest in pair}) == 6


ALONE = """
from autophage.host import environment
environment.apply()
import json, sys
from autophage.data.mix import TrainingRow
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.trainer.fit import FitRequest
from autophage.trainer.resident import ResidentModel

folder, recipe, rows = json.loads(sys.stdin.read())
recipe = Recipe.model_validate_json(recipe)
resident = ResidentModel(folder, recipe)
fitted = resident.fit(FitRequest(resident.base_weights(recipe), [TrainingRow(*row) for row in rows], recipe, 3))
print(fitted.weights.digest)
"""


def test_another_process_trains_the_same_whole_model(
    resident: ResidentModel, folder: str, rows: list[TrainingRow]
) -> None:
    two_generations(resident, rows, LORA_32)
    found = fit(resident, rows, FULL, resident.base_weights(FULL)).weights.digest
    given = json.dumps([folder, FULL.model_dump_json(), [[row.token_ids, row.context] for row in rows]])
    done = subprocess.run([sys.executable, "-c", ALONE], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == found


def test_every_weight_of_a_whole_model_moves_and_none_of_the_base(
    resident: ResidentModel, rows: list[TrainingRow]
) -> None:
    base = resident.base_weights(FULL)
    assert base.tensors == b""
    assert fit(resident, [], FULL, base).weights.digest == base.digest, "no step, so what was there, by the same digest"
    before = {name: tensor.clone() for name, tensor in resident.tensors(base).items()}
    trained = safetensors.torch.load(fit(resident, rows, FULL, base).weights.tensors)
    assert trained.keys() == before.keys()
    assert "lm_head.weight" not in trained, "it is tied"
    for name, tensor in before.items():
        assert not torch.equal(trained[name], tensor), name
        assert torch.equal(resident.tensors(base)[name], tensor), name


def test_what_is_stored_is_what_transformers_loads(
    resident: ResidentModel, rows: list[TrainingRow], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    weights = fit(resident, rows, FULL, resident.base_weights(FULL)).weights
    weights.save(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    ids = torch.tensor([rows[0].token_ids])
    with torch.no_grad():
        log_p = model(ids).logits[0].log_softmax(-1)
    resident.load(weights)
    (scored,) = resident.score([rows[0].token_ids], [1])
    np.testing.assert_allclose(scored.logprob, log_p[:-1].gather(1, ids[0, 1:, None])[:, 0], atol=1e-5)


def test_the_gradient_is_that_of_the_plain_loss(folder: str, rows: list[TrainingRow]) -> None:
    """After one step the first moment is a tenth of the clipped gradient. HF's loss gives its direction."""
    recipe = carried(FULL)
    for path in (folder, untied(folder)):
        resident = ResidentModel(path, recipe)
        fitted = resident.fit(FitRequest(resident.base_weights(), rows[:8], recipe, 3))
        assert fitted.optimizer is not None
        state = safetensors.torch.load(fitted.optimizer)
        plain = plain_gradients(path, rows[:8])
        norm = torch.cat([gradient.flatten() for gradient in plain.values()]).norm()
        for name, gradient in plain.items():
            expected = 0.1 * gradient / max(1.0, float(norm))
            found = state[f"exp_avg/{name}"]
            assert ((found - expected).norm() / expected.norm()).item() < 1e-4, name


def untied(folder: str) -> str:
    """The same model with an untied head."""
    import shutil

    from transformers import AutoModelForCausalLM

    out = Path(folder).with_name("untied")
    if not out.is_dir():
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        torch.manual_seed(0)
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight + 0.02 * torch.randn_like(model.lm_head.weight))
        model.save_pretrained(out)
        for file in Path(folder).glob("tokenizer*"):
            shutil.copy(file, out)
    return str(out)


def plain_gradients(folder: str, rows: list[TrainingRow]) -> dict[str, torch.Tensor]:
    """Gradient of HF's own loss over the trained tokens of `rows`, by checkpoint name."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder).train()
    width = max(len(row.token_ids) for row in rows)
    ids = torch.tensor([[*row.token_ids, *[0] * (width - len(row.token_ids))] for row in rows])
    labels = torch.tensor(
        [[*[-100] * row.context, *row.token_ids[row.context :], *[-100] * (width - len(row.token_ids))] for row in rows]
    )
    mask = torch.tensor([[1] * len(row.token_ids) + [0] * (width - len(row.token_ids)) for row in rows])
    model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_models_of_whole_weights_are_compared_each_with_its_own_head(
    resident: ResidentModel, rows: list[TrainingRow]
) -> None:
    base = resident.base_weights(FULL)
    first = fit(resident, rows[:16], FULL, base).weights
    second = fit(resident, rows[16:], FULL, first).weights
    sequences, contexts = [row.token_ids for row in rows], [1] * len(rows)
    against = compare(resident, second, [base, first], sequences, contexts, Meter())
    log_p = {}
    for weights in (base, first, second):
        resident.load(weights)
        with torch.no_grad():
            log_p[weights.digest] = resident.model(torch.tensor([sequences[0]])).logits[0, :-1].double().log_softmax(-1)
    own = log_p[second.digest]
    for weights, found in zip((base, first), against, strict=True):
        expected = (own.exp() * (own - log_p[weights.digest])).sum(1)
        np.testing.assert_allclose(found[0].kl, expected, rtol=1e-3, atol=1e-6)
        assert found[0].kl.mean() > 1e-4
        resident.load(weights)
        for alone, one in zip(resident.score(sequences, contexts), found, strict=True):
            np.testing.assert_allclose(one.scored.logprob, alone.logprob, atol=1e-5)


def test_in_sixteen_bits_small_updates_add_up_and_scores_are_of_what_is_served(
    folder: str, rows: list[TrainingRow]
) -> None:
    recipe = FULL.model_copy(
        update={
            "model": ModelTable(method="full", dtype="bfloat16"),
            "train": TrainTable(batch_size=8, learning_rate=1e-5),
        }
    )
    resident = ResidentModel(folder, recipe)
    base = resident.base_weights()
    weights = resident.fit(FitRequest(base, rows, recipe, 3)).weights
    before, after = resident.tensors(base), safetensors.torch.load(weights.tensors)
    name = "model.layers.0.mlp.up_proj.weight"
    assert (after[name] != before[name].float()).float().mean() > 0.9
    assert (after[name].bfloat16() != before[name]).float().mean() < 0.5, (
        "rounded at each step, most would have been lost"
    )
    resident.load(weights)
    live = dict(resident.model.named_parameters())[name]
    assert torch.equal(live, after[name].bfloat16().float())
    # Training continues from the float32 weights, not from the rounded ones of scoring.
    again = resident.fit(FitRequest(weights, rows, recipe, 3)).weights.digest
    assert again == ResidentModel(folder, recipe).fit(FitRequest(weights, rows, recipe, 3)).weights.digest


def test_carried_moments_change_the_next_training_and_only_that(
    resident: ResidentModel, rows: list[TrainingRow]
) -> None:
    for recipe in (LORA_8, FULL):
        start = resident.base_weights(recipe)
        plain, kept = fit(resident, rows, recipe, start), fit(resident, rows, carried(recipe), start)
        assert plain.optimizer is None
        assert kept.optimizer is not None
        assert plain.weights.digest == kept.weights.digest
        fresh = fit(resident, rows, carried(recipe), kept.weights)
        gone_on = fit(resident, rows, carried(recipe), kept.weights, kept.optimizer)
        assert fresh.weights.digest == fit(resident, rows, recipe, kept.weights).weights.digest
        assert gone_on.weights.digest != fresh.weights.digest
        assert gone_on.optimizer is not None
        steps = {name: tensor for name, tensor in safetensors.torch.load(gone_on.optimizer).items() if "step" in name}
        assert {tensor.item() for tensor in steps.values()} == {2 * len(seen(resident, rows, recipe, start))}
        assert fit(resident, [], carried(recipe), kept.weights, kept.optimizer).optimizer == kept.optimizer


def seen(resident: ResidentModel, rows: list[TrainingRow], recipe: Recipe, start: Weights) -> list[StepStatistics]:
    return resident.fit(FitRequest(start, rows, recipe, 3)).steps


def test_an_adapter_is_drawn_by_its_arms_seed(resident: ResidentModel, folder: str, rows: list[TrainingRow]) -> None:
    """A swept seed gives another adapter: the one of an arm with that seed alone."""
    resident.load(resident.base_weights(FULL))
    other = LORA_8.model_copy(update={"seed": 2})
    drawn = resident.base_weights(other)
    assert resident.live.method == "full", "asking for weights must not change what is loaded"
    assert drawn.digest != resident.base_weights(LORA_8).digest
    assert drawn.digest == ResidentModel(folder, other).base_weights().digest
    fitted = fit(resident, rows, other, drawn).weights.digest
    assert fitted == fit(ResidentModel(folder, other), rows, other, drawn).weights.digest


def test_a_model_that_is_stored_otherwise_is_refused(tiny_model: Callable[..., Path]) -> None:
    """Experts are one tensor in the model and many in the checkpoint."""
    with pytest.raises(UserError, match=r'method = "full" needs a model .*Use method = "lora"'):
        ResidentModel(str(tiny_model("mixtral")), FULL)
