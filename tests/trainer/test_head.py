"""The fused head reproduces logits, loss and gradients of each family, or falls back to the model's logits."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import transformers
from tests.present import present

from autophage.trainer.head import find_head
from autophage.trainer.micro_batches import IGNORED
from autophage.trainer.objective import WATCHED

pytestmark = pytest.mark.thorough

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "mistral": ("MistralConfig", {}),
    "gemma2 with softcap": ("Gemma2Config", {"head_dim": 16, "final_logit_softcapping": 5.0}),
    "cohere with a scale": ("CohereConfig", {"logit_scale": 0.25}),
    "granite with a scale": ("GraniteConfig", {"logits_scaling": 8.0}),
    "phi with a bias": ("PhiConfig", {}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}),
    "opt with a projection": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 16}),
}


def model_of(family: str) -> Any:
    name, extra = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, name)(**{**SMALL, **extra})
    model = transformers.AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        for parameter in model.parameters():  # spread, so that the logits are not all alike
            parameter.add_(torch.randn_like(parameter) * 0.1)
        if model.get_output_embeddings().bias is not None:
            model.get_output_embeddings().bias.normal_()
    return model.eval()


def batch() -> dict[str, torch.Tensor]:
    ids_BL = torch.randint(1, 97, (3, 17), generator=torch.Generator().manual_seed(1))
    labels_BL = ids_BL.clone()
    labels_BL[0, :9] = IGNORED
    labels_BL[2, 12:] = IGNORED
    return {"input_ids": ids_BL, "attention_mask": torch.ones_like(ids_BL), "labels": labels_BL}


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_model(family: str) -> None:
    model, inputs = model_of(family), batch()
    head = find_head(model)
    assert head.fused, "backbone and head were not found to make up the logits"
    plain = model(**inputs).loss
    trained_BL = inputs["labels"][:, 1:] != IGNORED
    rows_BLH = head.rows({name: value for name, value in inputs.items() if name != "labels"})
    stats = head.stats(rows_BLH[:, :-1][trained_BL], inputs["labels"][:, 1:][trained_BL], WATCHED)
    assert stats.logprob is not None
    fused = -stats.logprob.mean()
    assert abs(fused.item() - plain.item()) < 1e-5
    expected, found = gradients(model, plain), gradients(model, fused)
    assert expected.keys() == found.keys()
    # Relative to the whole gradient: some parts are zero up to rounding, such as a key's bias.
    whole = torch.cat([gradient.flatten() for gradient in expected.values()])
    error = torch.cat([(found[name] - gradient).flatten() for name, gradient in expected.items()])
    assert (error.norm() / whole.norm()).item() < 1e-4


@pytest.mark.parametrize("family", ["llama", "gemma2 with softcap", "cohere with a scale", "phi with a bias"])
def test_statistics_are_those_of_the_models_logits(family: str) -> None:
    model, inputs = model_of(family), batch()
    head = find_head(model)
    with torch.no_grad():
        rows = head.rows({"input_ids": inputs["input_ids"]})[:, :-1].flatten(0, 1)
        target = inputs["input_ids"][:, 1:].flatten()
        stats = head.stats(rows, target, WATCHED)
        log_p = model(input_ids=inputs["input_ids"]).logits[:, :-1].flatten(0, 1).double().log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    own = log_p.gather(1, target[:, None])
    torch.testing.assert_close(present(stats.entropy).double(), entropy, atol=2e-5, rtol=0)
    torch.testing.assert_close(present(stats.logprob).double(), own.squeeze(1), atol=2e-5, rtol=0)
    assert torch.equal(present(stats.rank), (log_p > own).sum(1) + 1)


def test_a_transform_that_is_not_known_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    model = model_of("llama")
    forward = model.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        outputs = forward(*args, **kwargs)
        outputs.logits = outputs.logits * 1.5
        return outputs

    model.forward = scaled
    with caplog.at_level(logging.WARNING, logger="autophage"):
        head = find_head(model)
    assert not head.fused
    assert "do not reproduce the logits" in caplog.text
    ids_BL = batch()["input_ids"]
    with torch.no_grad():
        rows_BLV = head.rows({"input_ids": ids_BL})
        stats = head.stats(rows_BLV[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten(), WATCHED)
        expected = model(input_ids=ids_BL).logits[:, :-1].log_softmax(-1).gather(2, ids_BL[:, 1:, None]).flatten()
    torch.testing.assert_close(stats.logprob, expected)


def test_a_frozen_head_gets_no_gradient() -> None:
    model, inputs = model_of("llama"), batch()
    model.get_output_embeddings().weight.requires_grad_(False)
    head = find_head(model)
    rows = head.rows({"input_ids": inputs["input_ids"]})[:, :-1].flatten(0, 1)
    stats = head.stats(rows, inputs["input_ids"][:, 1:].flatten(), ("logprob",))
    assert stats.logprob is not None
    found = gradients(model, -stats.logprob.mean())
    assert "lm_head.weight" not in found
    assert found
