"""Scores of options equal those of a plain forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from autophage.data.posing import Posed
from autophage.data.questions import Prompt, Question
from autophage.data.tokens import byte_pair_tokenizer
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import ModelTable
from autophage.trainer.answering import answers, choose, passes
from autophage.trainer.resident import ResidentModel

pytestmark = pytest.mark.thorough

QUESTION = Question("s/0", "s", "?", ("one", "two", "three", "four"), 2)
SHORT = ([5], [6], [7], [8])
LONG = ([9, 10], [11], [12, 13, 14], [15, 16])
ALIKE = ([20, 5], [20, 6], [20, 7], [20, 8])


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> ResidentModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    tokenizer = byte_pair_tokenizer(["one two three four"], 300)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1,
            initializer_range=0.3, max_position_embeddings=64, eos_token_id=2, bos_token_id=1, pad_token_id=0,
        )
    ).save_pretrained(folder)  # fmt: skip
    return ResidentModel(str(folder), Recipe(name="t", model=ModelTable(path=str(folder), rank=4)))


def posed(prompt: Sequence[int], options: tuple[list[int], ...], *, letters: bool, valid: Sequence[int] = ()) -> Posed:
    prompted = Prompt(QUESTION, "few-shot", "?", letters, valid=(*QUESTION.options, "five"))
    return Posed(prompted, list(prompt), options, frozenset([*(ids[0] for ids in options), *valid]))


def log_probs(resident: ResidentModel, prompt: Sequence[int], option: Sequence[int]) -> tuple[np.ndarray, list[bool]]:
    with torch.no_grad():
        logits = resident.model(torch.tensor([[*prompt, *option]])).logits[0].double()
    rows = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    own = rows.argmax(-1).tolist()
    return rows[range(len(option)), list(option)].numpy(), [a == b for a, b in zip(own, option, strict=True)]


@pytest.mark.parametrize("options", [SHORT, LONG, ALIKE])
@pytest.mark.parametrize("letters", [True, False])
def test_options_have_the_values_of_a_plain_forward_pass(
    resident: ResidentModel, options: tuple[list[int], ...], letters: bool
) -> None:
    asked = [posed(range(30, 30 + n), options, letters=letters) for n in range(2, 20)]
    for one, choice in zip(asked, choose(resident, asked, Meter()), strict=True):
        found = [log_probs(resident, one.prompt_ids, option) for option in options]
        values = [float(lp.sum() if letters else lp.mean()) for lp, _ in found]
        assert choice.logprobs == pytest.approx(values, abs=5e-5)  # float32 sums of a dozen nats
        assert choice.chosen == int(np.argmax(values))
        assert choice.confidence == pytest.approx(np.exp(values[choice.chosen]) / np.exp(values).sum(), abs=1e-5)
        assert choice.greedy == all(found[choice.chosen][1])


def test_long_and_short_ones_keep_their_order(resident: ResidentModel) -> None:
    asked = [posed([30 + n], (SHORT, LONG)[n % 2], letters=False) for n in range(10)]
    meter = Meter()
    together = choose(resident, asked, meter)
    assert passes(asked) == meter.progress.done == 5 + 5 * 4
    for one, choice in zip(asked, together, strict=True):
        (alone,) = choose(resident, [one], Meter())
        assert choice.logprobs == pytest.approx(alone.logprobs, abs=1e-5)


def test_a_greedy_choice_and_an_answer_in_form(resident: ResidentModel) -> None:
    """Options from the model's own greedy tokens, so that `greedy` and `complies` are known."""
    prompt = [30, 31, 32]
    own: list[int] = []
    for _ in range(2):
        with torch.no_grad():
            own.append(int(resident.model(torch.tensor([prompt + own])).logits[0, -1].argmax()))
    other = [token for token in range(40, 50) if token not in own]
    greedy, begun, shared, none, other_kind = choose(
        resident,
        [
            posed(prompt, (own, [other[0]], [other[1]], [other[2]]), letters=True),
            posed(prompt, ([other[0]], [other[3]], [own[0], other[1]], [other[2]]), letters=False),
            posed(prompt, tuple([own[0], token] for token in other[:4]), letters=True),
            posed(prompt, tuple([token] for token in other[:4]), letters=True),
            posed(prompt, tuple([token] for token in other[:4]), letters=False, valid=own[:1]),
        ],
        Meter(),
    )
    assert (greedy.complies, begun.complies, none.complies, none.greedy) == (True, True, False, False)
    assert greedy.greedy == (greedy.chosen == 0)
    assert not begun.greedy
    assert (other_kind.complies, other_kind.greedy) == (True, False)
    assert not shared.complies, "all four begin alike: what tells them apart comes after"


def test_what_was_written_is_put_beside_the_choice(resident: ResidentModel) -> None:
    letter, text = posed([30], SHORT, letters=True), posed([31], SHORT, letters=False)
    choices = choose(resident, [letter, text], Meter())
    first, second = answers([letter, text], choices, ["(B) three", "(B) three"], [0.25, 0.5])
    assert (first.generated_choice, second.generated_choice) == (1, 2)
    assert (first.gold, first.question, first.entailment, second.entailment) == (2, "s/0", 0.25, 0.5)
    assert (first.chosen, first.logprobs) == (choices[0].chosen, choices[0].logprobs)
    (fifth,) = answers([text], choices[1:], [" five"], None)
    assert (fifth.generated_choice, fifth.generated_complies, first.generated_complies) == (None, True, True)
    (bare,) = answers([letter], choices[:1], None, None)
    assert (bare.generated, bare.generated_choice, bare.generated_complies, bare.entailment) == (None, None, None, None)
