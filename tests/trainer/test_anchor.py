"""Anchors: loss and gradients of a training step equal those of two plain forward passes on real models."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from autophage.data.mix import TrainingRow
from autophage.data.tokens import word_tokenizer
from autophage.errors import UserError
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import AnchorTable
from autophage.recipe.tables.mix import MixTable
from autophage.recipe.tables.model import ModelTable
from autophage.recipe.tables.train import TrainTable
from autophage.store.training import StepStatistics, step_metrics
from autophage.store.weights import Weights
from autophage.trainer.divergence import compare
from autophage.trainer.fit import FitRequest
from autophage.trainer.micro_batches import MicroBatchSize
from autophage.trainer.resident import ResidentModel
from autophage.trainer.sft import WatchedTrainer
from autophage.trainer.variants import to_bytes

pytestmark = pytest.mark.thorough

WORDS = [f"w{number}" for number in range(60)]
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "llama, untied": ("LlamaConfig", {"tie_word_embeddings": False}),
    "gemma2 with softcap": ("Gemma2Config", {"head_dim": 16, "final_logit_softcapping": 5.0}),
    "gpt2 with dropout": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}),
}
METHODS = {"lora": ModelTable(rank=4), "full": ModelTable(method="full")}
ROWS = [
    TrainingRow(
        [1, *(4 + (7 * number + step * step) % 60 for step in range(5 + number)), 2],
        1 + number % 3,
        None,
        number % 2 == 0,
    )
    for number in range(6)
]
"""Documents of different lengths and contexts. Every second one counts as synthetic."""


def recipe_of(method: str, anchor: AnchorTable, **train: Any) -> Recipe:
    settings = TrainTable(batch_size=len(ROWS), learning_rate=1e-3, schedule="constant", packing="padded")
    settings = settings.model_copy(update=train)
    return Recipe(name="t", model=METHODS[method], train=settings, anchor=anchor, mix=MixTable(alpha=0.5))


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    root = tmp_path_factory.mktemp("models")

    def make(family: str, seed: int = 0) -> str:
        folder = root / f"{family.replace(' ', '-')}-{seed}"
        if not folder.is_dir():
            name, extra = FAMILIES[family]
            tokenizer = word_tokenizer(WORDS)
            torch.manual_seed(seed)
            sizes = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
            model = transformers.AutoModelForCausalLM.from_config(
                getattr(transformers, name)(**{**SMALL, **sizes, **extra})
            )
            with torch.no_grad():
                for parameter in model.parameters():  # spread, so that the logits are not all alike
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return str(folder)

    return make


def moved(resident: ResidentModel, recipe: Recipe) -> Weights:
    """Model 0 with noise on every trained tensor."""
    base = resident.base_weights(recipe)
    generator = torch.Generator().manual_seed(5)
    shaken = {
        name: tensor.float() + 0.05 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in sorted(resident.tensors(base).items())
    }
    return Weights(to_bytes(shaken), base.config, base.method)


@dataclass
class Step:
    """Results of one training step, before its gradient is clipped."""

    loss: float
    gradients: dict[str, torch.Tensor]
    seen: StepStatistics


def step_of(resident: ResidentModel, start: Weights, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Step:
    found: list[tuple[float, dict[str, torch.Tensor]]] = []
    whole = WatchedTrainer.training_step

    def training_step(trainer: WatchedTrainer, model: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        loss = whole(trainer, model, *arguments, **named)
        named_gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append((float(loss), named_gradients))
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(WatchedTrainer, "training_step", training_step)
        fitted = resident.fit(FitRequest(start, ROWS, recipe, 3))
    ((loss, gradients),), (seen,) = found, fitted.steps
    return Step(loss, gradients, seen)


def plain_step(resident: ResidentModel, start: Weights, anchor: AnchorTable, reference_folder: str) -> Step:
    """Compute the step by two float64 forward passes per document, with whole log-softmaxes."""
    resident.load(start)
    # Gradients of the trained tensors only. Model and reference share no tensor.
    model = copy.deepcopy(resident.model).double().eval()
    reference = transformers.AutoModelForCausalLM.from_pretrained(reference_folder).double().eval()
    total = torch.zeros((), dtype=torch.float64)
    tokens, divergences, withheld = 0, [], 0
    for row in ROWS:
        ids = torch.tensor([row.token_ids])
        spans = slice(row.context - 1, -1)
        log_p = model(ids).logits[0].log_softmax(-1)[spans]
        with torch.no_grad():
            log_q = reference(ids).logits[0].log_softmax(-1)[spans]
        target = ids[0, row.context :, None]
        own, theirs = log_p.gather(1, target)[:, 0], log_q.gather(1, target)[:, 0]
        forward = (log_q.exp() * (log_q - log_p)).sum(1)
        reverse = (log_p.exp() * (log_p - log_q)).sum(1)
        for place in range(len(target)):
            tokens += 1
            if row.synthetic and anchor.distills:
                ratio = float((own - theirs)[place].detach())
                kept = 1.0
                if anchor.trust is not None and ratio > anchor.trust:
                    withheld += 1
                    kept = 0.0 if anchor.outliers == "mask" else anchor.trust / ratio
                total = total + kept * reverse[place]
            elif anchor.truncate is not None and math.exp(float(own[place].detach())) > anchor.truncate:
                withheld += 1
            else:
                total = total - own[place]
            held = forward[place] if anchor.kl > 0 and anchor.direction == "forward" else reverse[place]
            total = total + anchor.kl * held
            divergences.append(float(held.detach()))
    loss = total / tokens
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    nothing = (math.nan, math.nan, math.nan, math.nan, math.nan)
    seen = StepStatistics(1, tokens, *nothing, float(np.mean(divergences)), withheld / tokens)
    return Step(float(loss.detach()), gradients, seen)


def equal(found: Step, expected: Step) -> None:
    assert found.loss == pytest.approx(expected.loss, abs=1e-5)
    assert found.gradients.keys() == expected.gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.gradients.values())
    assert largest > 1e-3
    for name, gradient in expected.gradients.items():
        error = float((found.gradients[name] - gradient).abs().max())
        assert error < 1e-5 * max(1.0, largest), f"{name}: {error:.2g} of {largest:.2g}"


ANCHORS = {
    "forward": AnchorTable(kl=0.7),
    "reverse": AnchorTable(kl=0.7, direction="reverse"),
    "truncated": AnchorTable(truncate=0.03),
    "truncated and held": AnchorTable(truncate=0.03, kl=2.0),
    "distilled": AnchorTable(objective="distill"),
    "distilled, clipped": AnchorTable(objective="distill", trust=0.15),
    "distilled, masked, held": AnchorTable(objective="distill", trust=0.15, outliers="mask", kl=0.3),
    "everything": AnchorTable(objective="distill", trust=0.15, kl=0.3, direction="reverse", truncate=0.03),
}


@pytest.mark.parametrize("anchor", ANCHORS.values(), ids=ANCHORS.keys())
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["llama, tied", "gemma2 with softcap"])
def test_loss_and_gradients_are_those_of_two_plain_passes(
    family: str, method: str, anchor: AnchorTable, folder_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(method, anchor)
    resident = ResidentModel(folder_of(family), recipe)
    assert resident.head.fused
    start = moved(resident, recipe)
    expected = plain_step(resident, start, anchor, resident.path)
    found = step_of(resident, start, recipe, monkeypatch)
    equal(found, expected)
    assert found.seen.tokens == expected.seen.tokens
    refers, withholds = recipe.refers, anchor.truncate is not None or anchor.trust is not None
    if refers:
        assert found.seen.divergence == pytest.approx(expected.seen.divergence, abs=1e-5)
        assert found.seen.divergence > 0.01
    else:
        assert math.isnan(found.seen.divergence)
    if withholds:
        assert found.seen.withheld == pytest.approx(expected.seen.withheld, abs=1e-6)
        assert 0 < found.seen.withheld < 1, "the case withholds nothing, or everything"
    else:
        assert math.isnan(found.seen.withheld)


@pytest.mark.parametrize("size", [None, 4, 1])
@pytest.mark.parametrize("packing", ["padded", "padding-free"])
@pytest.mark.parametrize(("family", "method"), [("llama, untied", "full"), ("llama, untied", "lora")])
def test_micro_batches_and_packing_change_nothing(
    family: str,
    method: str,
    packing: str,
    size: int | None,
    folder_of: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    anchor = ANCHORS["everything"]
    recipe = recipe_of(method, anchor, packing=packing)
    resident = ResidentModel(folder_of(family), recipe)
    resident.micro_batch = MicroBatchSize(size)
    start = moved(resident, recipe)
    found = step_of(resident, start, recipe, monkeypatch)
    equal(found, plain_step(resident, start, anchor, resident.path))


@pytest.mark.parametrize("method", METHODS)
def test_a_teacher_takes_the_base_models_place(
    method: str, folder_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, teacher = folder_of("llama, tied"), folder_of("llama, untied", 1)
    anchor = AnchorTable(kl=1.0, reference=teacher)
    recipe = recipe_of(method, anchor)
    resident = ResidentModel(folder, recipe)
    start = moved(resident, recipe)
    equal(step_of(resident, start, recipe, monkeypatch), plain_step(resident, start, anchor, teacher))
    # The folder of model 0 is the same reference: with its adapter disabled the model equals it bit for bit.
    named = recipe.model_copy(update={"anchor": AnchorTable(kl=1.0, reference=folder)})
    base = recipe.model_copy(update={"anchor": AnchorTable(kl=1.0)})
    digests = [resident.fit(FitRequest(start, ROWS, one, 3)).weights.digest for one in (named, base, recipe)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("method", METHODS)
def test_in_sixteen_bits_the_loss_is_that_of_two_plain_passes_but_for_rounding(
    method: str, folder_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor = AnchorTable(kl=3.0)
    recipe = recipe_of(method, anchor)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": "bfloat16"})})
    resident = ResidentModel(folder_of("llama, tied"), recipe)
    start = moved(resident, recipe)
    expected = plain_step(resident, start, anchor, resident.path)
    found = step_of(resident, start, recipe, monkeypatch)
    assert found.loss == pytest.approx(expected.loss, abs=0.02)
    assert found.seen.divergence == pytest.approx(expected.seen.divergence, rel=0.1)
    assert all(gradient.dtype is torch.float32 for gradient in found.gradients.values())


def test_the_reference_has_no_dropout_and_leaves_no_trace(folder_of: Callable[[str], str]) -> None:
    """The model has dropout by default. The reference has none, and draws no random numbers."""
    recipe = recipe_of("lora", AnchorTable(kl=1e-30), epochs=1.0)
    plain = recipe.model_copy(update={"anchor": AnchorTable()})
    resident = ResidentModel(folder_of("gpt2 with dropout"), recipe)
    start = resident.base_weights()
    held = resident.fit(FitRequest(start, ROWS, recipe, 3))
    assert held.steps[0].divergence > 1e-3, "of the model with dropout from model 0 without it"
    assert held.weights.digest == resident.fit(FitRequest(start, ROWS, plain, 3)).weights.digest
    assert all(parameter.requires_grad for parameter in resident.live.parameters.values())


def test_arms_with_and_without_an_anchor_take_turns(folder_of: Callable[[str], str]) -> None:
    """The base model stays the reference of full weights while it has adapters. An anchor leaves nothing behind."""
    folder = folder_of("llama, tied")
    recipes = [recipe_of(method, anchor) for method in METHODS for anchor in (AnchorTable(), ANCHORS["everything"])]
    resident = ResidentModel(folder, recipes[0])

    def digest(on: ResidentModel, recipe: Recipe) -> str:
        return on.fit(FitRequest(moved(on, recipe), ROWS, recipe, 3)).weights.digest

    together = [digest(resident, recipe) for recipe in [*recipes, *recipes]]
    assert together[: len(recipes)] == together[len(recipes) :]
    assert together[: len(recipes)] == [digest(ResidentModel(folder, recipe), recipe) for recipe in recipes]
    assert len(set(together)) == len(recipes)


def test_teachers_of_other_vocabularies_are_refused(folder_of: Callable[[str], str], tmp_path: Path) -> None:
    folder = folder_of("llama, tied")
    word_tokenizer([*WORDS[:-1], "other"]).save_pretrained(tmp_path)
    wrong = recipe_of("lora", AnchorTable(kl=1.0, reference=str(tmp_path)))
    resident = ResidentModel(folder, wrong)
    with pytest.raises(UserError, match=r"token '(w59|other)' has id (63|None) there and (63|None) here"):
        resident.reference(wrong)
    wider = transformers.AutoModelForCausalLM.from_config(
        transformers.LlamaConfig(**{**SMALL, "vocab_size": 128, "bos_token_id": 1, "eos_token_id": 2})
    )
    wider.save_pretrained(tmp_path)
    word_tokenizer(WORDS).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has 128 logits, but the model has 64"):
        resident.reference(wrong)
    with pytest.raises(UserError, match="has no tokenizer"):
        resident.reference(recipe_of("lora", AnchorTable(kl=1.0, reference=str(tmp_path / "absent"))))


WEIGHTS = {"forward": (0.0, 0.1, 0.3, 1.0, 3.0), "reverse": (0.0, 0.3, 1.0, 3.0)}
"""With one certain token a reverse anchor of 0.1 hardly matters: its optimum is still that token."""


@pytest.mark.parametrize(("direction", "weights"), WEIGHTS.items(), ids=WEIGHTS.keys())
def test_a_heavier_anchor_drifts_less(
    direction: str, weights: tuple[float, ...], folder_of: Callable[[str], str]
) -> None:
    """The model memorizes documents that the base finds strange. A larger weight keeps it nearer to the base."""
    drifts = []
    for weight in weights:
        anchor = AnchorTable(kl=weight, direction=direction)  # type: ignore[arg-type]
        recipe = recipe_of("full", anchor, learning_rate=1e-2, schedule="linear")
        resident = ResidentModel(folder_of("llama, tied"), recipe)
        base = resident.base_weights()
        learnt = resident.fit(FitRequest(base, ROWS * 100, recipe, 3)).weights
        sequences, contexts = [row.token_ids for row in ROWS], [row.context for row in ROWS]
        (compared,) = compare(resident, learnt, [base], sequences, contexts, Meter())
        drifts.append(float(np.concatenate([one.kl for one in compared]).mean()))
    for lighter, heavier in itertools.pairwise(drifts):
        assert heavier < 0.9 * lighter, drifts
    assert drifts[-1] < 0.2 * drifts[0]


def test_metrics_are_means_over_tokens() -> None:
    nothing = (math.nan, math.nan, math.nan, math.nan, math.nan)
    steps = [StepStatistics(1, 10, *nothing, 1.0, math.nan), StepStatistics(2, 30, *nothing, 2.0, math.nan)]
    (found,) = step_metrics([*steps, StepStatistics(3, 0, *[math.nan] * 7)])
    assert (found.metric, found.value, found.n) == ("anchor/kl", 1.75, 40)
    assert step_metrics([replace(step, divergence=math.nan) for step in steps]) == []
