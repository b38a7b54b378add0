"""Gains of documents equal those of a plain loop on a copy of the model. A trial leaves nothing behind."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from autophage.data.mix import TrainingRow
from autophage.data.tokens import word_tokenizer
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.trainer.resident import ResidentModel

pytestmark = pytest.mark.thorough

VOCABULARY, RANK = 50, 4


def recipe(method: str) -> Recipe:
    return Recipe.model_validate({"name": "t", "model": {"method": method, "rank": RANK}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("model")
    tokenizer = word_tokenizer([f"w{number}" for number in range(VOCABULARY)])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def residents(folder: str) -> dict[str, ResidentModel]:
    return {method: ResidentModel(folder, recipe(method)) for method in ("lora", "full")}


def drawn(seed: int, count: int) -> list[TrainingRow]:
    """Documents of several lengths. Some have a context without loss."""
    rng = np.random.default_rng(seed)
    return [
        TrainingRow([1, *map(int, rng.integers(5, VOCABULARY, 6 + 3 * index % 11))], 1 + index % 3)
        for index in range(count)
    ]


HELD = drawn(1, 9)


def loss(model: torch.nn.Module, rows: list[TrainingRow]) -> torch.Tensor:
    """Mean nats a token after the contexts, document by document."""
    found = []
    for row in rows:
        logits = model(input_ids=torch.tensor([row.token_ids])).logits[0, row.context - 1 : -1]
        target = torch.tensor(row.token_ids[row.context :])
        found.append(torch.nn.functional.cross_entropy(logits, target, reduction="none"))
    return torch.cat(found).mean()


def plain_gain(resident: ResidentModel, row: TrainingRow, steps: int, rate: float) -> float:
    names = [name for name, one in resident.model.named_parameters() if one.requires_grad]
    model = copy.deepcopy(resident.model).eval()
    trained = [one for name, one in model.named_parameters() if name in names]
    optimizer = torch.optim.SGD(trained, lr=rate)
    with torch.no_grad():
        before = float(loss(model, HELD))
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model, [row]).backward()
        optimizer.step()
    with torch.no_grad():
        return before - float(loss(model, HELD))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_gain_is_that_of_plain_descent_on_a_copy(residents: dict[str, ResidentModel], method: str) -> None:
    resident, rows, meter = residents[method], [*drawn(2, 4), HELD[3]], Meter()
    weights = resident.base_weights()
    resident.load(weights)
    expected = [plain_gain(resident, row, 3, 0.3) for row in rows]
    found = resident.gains(weights, rows, HELD, 3, 0.3, meter)
    assert found == pytest.approx(expected, abs=1e-5)
    assert max(map(abs, expected)) > 1e-3
    assert meter.progress.done == len(HELD) + len(rows) * (3 + len(HELD))
    assert resident.gains(weights, rows[::-1], HELD, 3, 0.3) == found[::-1]  # each from the same weights


@pytest.mark.parametrize("method", ["lora", "full"])
def test_nothing_is_left_of_a_trial(residents: dict[str, ResidentModel], method: str) -> None:
    resident = residents[method]
    weights = resident.base_weights()
    resident.load(weights)
    before = {name: (one.detach().clone(), one.requires_grad) for name, one in resident.model.named_parameters()}
    modes = [module.training for module in resident.model.modules()]
    for rate in (0.3, 1e30):  # the second leads to what is not finite
        resident.gains(weights, drawn(3, 3), HELD, 2, rate)
        for name, one in resident.model.named_parameters():
            assert torch.equal(one, before[name][0]), name
            assert (one.requires_grad, one.grad) == (before[name][1], None)
    assert [module.training for module in resident.model.modules()] == modes


def test_what_people_wrote_is_gained_from_more_than_noise(residents: dict[str, ResidentModel]) -> None:
    resident = residents["full"]
    gains = resident.gains(resident.base_weights(), [*HELD, *drawn(4, 9)], HELD, 4, 0.1)
    assert np.mean(gains[:9]) > np.mean(gains[9:])
    assert min(gains[:9]) > 0


def test_a_rate_that_is_too_high_gives_no_number(residents: dict[str, ResidentModel]) -> None:
    resident = residents["full"]
    [gain] = resident.gains(resident.base_weights(), drawn(5, 1), HELD, 3, 1e30)
    assert not math.isfinite(gain)


def test_at_a_small_rate_gains_are_inner_products_of_gradients(residents: dict[str, ResidentModel]) -> None:
    resident, rows, rate = residents["full"], drawn(6, 3), 1e-4
    resident.load(resident.base_weights())
    parameters = list(resident.model.parameters())
    held = torch.autograd.grad(loss(resident.model, HELD), parameters)
    products = []
    for row in rows:
        own = torch.autograd.grad(loss(resident.model, [row]), parameters)
        products.append(rate * float(sum((a * b).sum() for a, b in zip(own, held, strict=True))))
    assert resident.gains(resident.base_weights(), rows, HELD, 1, rate) == pytest.approx(products, rel=0.05, abs=2e-6)
