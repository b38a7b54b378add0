"""Sequences that share cached prefixes have the statistics of whole sequences, and no token is computed twice in vain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from autophage.progress import Meter
from autophage.trainer.attention import settle
from autophage.trainer.folding import folded
from autophage.trainer.head import LanguageHead, find_head
from autophage.trainer.passes import Budget, budget, passes
from autophage.trainer.prefill import prefill
from autophage.trainer.prefixes import PrefixGroup, prefix_groups
from autophage.trainer.scoring import score, score_choices

pytestmark = pytest.mark.thorough

SMALL: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 128, "pad_token_id": 0, "head_dim": 8,
}  # fmt: skip
WINDOWS = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "mistral with a window": ("MistralConfig", {"sliding_window": 5}),
    "gemma3 with windows": ("Gemma3TextConfig", WINDOWS),
    "gemma2 with softcaps": (
        "Gemma2Config",
        {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0, **WINDOWS},
    ),
    "gpt2 with learned positions": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
}


def numbers(count: int, seed: int) -> list[int]:
    return torch.randint(1, 97, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def asked() -> tuple[list[list[int]], list[int]]:
    """Prompts with options of several lengths: one token, none, and one option alone; the prompts begin alike in twos."""
    sequences: list[list[int]] = []
    contexts: list[int] = []
    shots = [numbers(40, 1), numbers(23, 2)]
    for number in range(6):
        prompt = shots[number % 2] + numbers(5 + 3 * number, 10 + number)
        for length in [(3, 1, 0, 6), (2, 2), (4,)][number % 3]:
            sequences.append(prompt + numbers(length, 100 + len(sequences)))
            contexts.append(len(prompt))
    sequences += [numbers(1, 7), numbers(30, 8), shots[0]]
    contexts += [1, 1, len(shots[0])]
    return sequences, contexts


def head_of(family: str, *, adapted: bool) -> LanguageHead:
    import peft

    torch.manual_seed(0)
    name, extra = FAMILIES[family]
    config = getattr(transformers, name)(**{**SMALL, **extra})
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    if adapted:
        model = peft.get_peft_model(
            model, peft.LoraConfig(r=3, lora_alpha=5, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.eval()
    settle(model.get_base_model() if adapted else model, torch.float32)
    return find_head(model)


def plain(head: LanguageHead, sequence: list[int], context: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-probs and entropies of the tokens after a context, by the model's own logits."""
    with torch.no_grad():
        logprobs_LV = head.model(torch.tensor([sequence])).logits[0].double().log_softmax(-1)[context - 1 : -1]
    own = logprobs_LV[range(len(sequence) - context), sequence[context:]]
    return own.numpy(), -(logprobs_LV.exp() * logprobs_LV).sum(-1).numpy()


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_are_those_of_whole_sequences(family: str, adapted: bool) -> None:
    head = head_of(family, adapted=adapted)
    assert head.cached
    sequences, contexts = asked()
    shared = list(passes(sequences, contexts, budget(head)))
    assert sum(len(one.prefixes) for one in shared) >= 2
    for one, sequence, context in zip(score(head, sequences, contexts, Meter()), sequences, contexts, strict=True):
        logprob, entropy = plain(head, sequence, context)
        assert one.logprob == pytest.approx(logprob, abs=1e-5)
        assert one.entropy == pytest.approx(entropy, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_choices_after_a_shared_beginning(family: str) -> None:
    head = head_of(family, adapted=True)
    prompts = [numbers(20, 1) + numbers(3 + 2 * number, number) for number in range(5)]
    for one, prompt in zip(score_choices(head, prompts, [[5, 6, 7]] * 5, Meter()), prompts, strict=True):
        expected = [plain(head, [*prompt, token], len(prompt))[0][0] for token in (5, 6, 7)]
        assert one.logprob == pytest.approx(expected, abs=1e-5)


def test_each_sequence_is_in_one_pass_within_the_limits() -> None:
    sequences, contexts = asked()
    for limits in (Budget(1 << 14, cached=1 << 10), Budget(64, 4, 16, 200), Budget(64, 4, 16)):
        found = list(passes(sequences, contexts, limits))
        assert sorted(index for one in found for index in one.members) == list(range(len(sequences)))
        for one in found:
            first = [len(one.prefixes[which]) for which in one.chosen] or [0] * len(one.members)
            rest = [len(sequences[index]) - length for index, length in zip(one.members, first, strict=True)]
            assert len(rest) == 1 or limits.holds(len(rest), max(rest))
            for index, which in zip(one.members, one.chosen, strict=False):
                prefix = one.prefixes[which]
                assert sequences[index][: len(prefix)] == prefix
                assert len(prefix) < contexts[index]


def test_groups_save_the_most_tokens() -> None:
    head, subjects = numbers(10, 1), [numbers(50, 2), numbers(50, 3)]
    few = [head + subject + numbers(20, 10 + number) for number, subject in enumerate(subjects * 3)]
    short = [head + numbers(20, 30 + number) for number in range(9)]
    sequences = few + short
    groups = prefix_groups(sequences, [len(one) - 1 for one in sequences])
    assert {(group.length, tuple(sorted(group.members))) for group in groups} == {
        (60, (0, 2, 4)),
        (60, (1, 3, 5)),
        (10, tuple(range(6, 15))),
    }
    assert prefix_groups([numbers(3, 1)] * 9, [2] * 9) == []
    assert prefix_groups([numbers(30, 1)] * 2, [20, 15]) == [PrefixGroup(15, [0, 1])]
    assert prefix_groups([], []) == []


def test_many_nested_prefixes() -> None:
    one = numbers(3000, 1)
    sequences = [one[:length] for length in range(9, 3000)]
    groups = prefix_groups(sequences, [len(sequence) - 1 for sequence in sequences])
    members = [index for group in groups for index in group.members]
    assert len(set(members)) == len(members)


def test_a_model_that_misplaces_a_suffix_computes_whole_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    from autophage.trainer import prefill

    monkeypatch.setattr(prefill, "_positions", lambda mask: torch.arange(mask.shape[1]).expand_as(mask) * 0)
    assert head_of("gpt2 with learned positions", adapted=False).cached is None


def test_a_fold_leaves_the_model_as_it_was() -> None:
    head = head_of("llama", adapted=True)
    before = {name: tensor.clone() for name, tensor in head.model.state_dict().items()}
    inputs = {"input_ids": torch.tensor([numbers(60, 1)])}
    whole_LX = head.rows(inputs)
    with torch.no_grad():
        folded_LX = head.rows(inputs)
    assert not torch.equal(whole_LX, folded_LX)
    assert torch.allclose(whole_LX, folded_LX, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.model.state_dict().items())
    assert torch.equal(head.rows(inputs), whole_LX)


@pytest.mark.parametrize("why", ["few tokens", "switched off", "16 bits"])
def test_nothing_is_folded(why: str) -> None:
    from autophage.trainer.modes import without_adapters

    head = replace(head_of("llama", adapted=True))
    model = head.model.bfloat16() if why == "16 bits" else head.model
    if why == "switched off":
        with without_adapters(model), folded(model, 1000):
            assert not any("forward" in vars(module) for module in model.modules())
        return
    with folded(model, 23 if why == "few tokens" else 1000):
        assert not any("forward" in vars(module) for module in model.modules())
    with folded(head_of("llama", adapted=True).model, 24):
        pass


def test_a_prefix_of_several_passes_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from autophage.trainer import scoring

    head = head_of("llama", adapted=True)
    computed: list[Any] = []

    def counted(head: LanguageHead, prefixes: Any) -> Any:
        computed.append(prefixes)
        return prefill(head, prefixes)

    monkeypatch.setattr(scoring, "prefill", counted)
    sequences = [numbers(20, 1) + numbers(20, 10 + number) for number in range(9)]
    limits = replace(budget(head), tokens=60)
    assert len(list(passes(sequences, [30] * 9, limits))) == 3
    found = score(head, sequences, [30] * 9, Meter(), limits)
    assert computed == [[sequences[0][:20]]]
    for one, sequence in zip(found, sequences, strict=True):
        assert one.logprob == pytest.approx(plain(head, sequence, 30)[0], abs=1e-5)
