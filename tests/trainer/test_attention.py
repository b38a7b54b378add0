"""The attention of a loaded model: softcaps are honoured, and documents in one row never read each other."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from autophage.trainer import attention
from autophage.trainer.attention import FLASH, VARIABLE, attention_of, by_document, choose, documents_of, settle
from autophage.trainer.head import find_head
from autophage.trainer.loading import load_model

pytestmark = pytest.mark.thorough

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "head_dim": 8,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {}),
    "mistral with a window": ("MistralConfig", {"sliding_window": 3}),
    "gemma3 with windows": (
        "Gemma3TextConfig",
        {"sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"]},
    ),
}
CPU, GPU = torch.device("cpu"), torch.device("cuda")
LENGTHS = (5, 1, 9)


def model_of(name: str, extra: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, name)(**{**SMALL, **extra})
    model = transformers.AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def flat(documents: list[list[int]]) -> dict[str, Any]:
    """The documents in one row, as TRL's collator gives them."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collator: Any = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    inputs: dict[str, Any] = collator([{"input_ids": ids, "labels": ids} for ids in documents])
    inputs.pop("labels")
    return inputs


def documents() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(1, 97, (length,), generator=generator).tolist() for length in LENGTHS]


def test_a_softcap_on_attention_is_honoured(tmp_path: Path) -> None:
    model = model_of("Gemma2Config", {"attn_logit_softcapping": 1.0, "query_pre_attn_scalar": 1})
    model.save_pretrained(tmp_path)

    def log_probs(one: Any) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = one(input_ids=torch.tensor([documents()[2]])).logits.log_softmax(-1)
        return found

    def loaded(kind: str) -> Any:
        found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation=kind).eval()
        assert attention_of(found) == kind
        return found

    eager, sdpa = log_probs(loaded("eager")), log_probs(loaded("sdpa"))
    assert float((eager - sdpa).abs().max()) > 0.1
    assert torch.equal(log_probs(load_model(str(tmp_path), torch.float32)), eager)


@pytest.mark.parametrize(
    ("changes", "device", "compute", "installed", "wanted"),
    [
        ({}, GPU, torch.bfloat16, False, VARIABLE),
        ({}, GPU, torch.bfloat16, True, FLASH),
        ({}, GPU, torch.float32, True, "sdpa"),
        ({}, CPU, torch.bfloat16, True, "sdpa"),
        ({"attn_logit_softcapping": 50.0}, GPU, torch.bfloat16, True, "eager"),
        ({"attn_logit_softcapping": 50.0}, CPU, torch.float32, False, "eager"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, GPU, torch.bfloat16, False, VARIABLE),
        ({"layer_types": ["linear_attention", "full_attention"]}, GPU, torch.bfloat16, True, "sdpa"),
        ({"attention_chunk_size": 8192}, GPU, torch.bfloat16, False, "sdpa"),
        ({"is_causal": False}, GPU, torch.bfloat16, False, "sdpa"),
    ],
)
def test_the_choice(
    changes: dict[str, Any],
    device: torch.device,
    compute: torch.dtype,
    installed: bool,
    wanted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: installed)
    assert attention.kernel() is not None
    assert choose(SimpleNamespace(**changes), "sdpa", device, compute) == wanted


def test_a_model_without_sdpa_keeps_its_attention() -> None:
    """Models whose attention has sinks, say, choose eager themselves."""
    assert choose(SimpleNamespace(), "eager", GPU, torch.bfloat16) == "eager"


def test_a_torch_without_windows_has_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", lambda query, key, value, is_causal: None)
    kernel = attention.kernel.__wrapped__
    assert kernel() is None
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: False)
    monkeypatch.setattr(attention, "kernel", kernel)
    assert choose(SimpleNamespace(), "sdpa", GPU, torch.bfloat16) == "sdpa"


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice for a GPU. The kernel's reference computes it on the CPU."""
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: False)
    monkeypatch.setattr(
        attention, "choose", lambda config, before, device, compute: choose(config, before, GPU, torch.bfloat16)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_documents_in_one_row_are_those_alone(family: str, on_a_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(*FAMILIES[family])
    head = find_head(model)
    ids = documents()

    def of(inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        rows_TH = head.rows(inputs).flatten(0, 1)
        weight = model.get_input_embeddings().weight
        (gradient,) = torch.autograd.grad((rows_TH * torch.arange(rows_TH.shape[0])[:, None]).sum(), weight)
        return rows_TH.detach(), gradient

    dense = of(flat(ids))
    settle(model, torch.float32)
    assert attention_of(model) == VARIABLE
    monkeypatch.setattr(attention, "sdpa_mask", lambda **_: pytest.fail("a mask of all pairs of tokens was made"))
    found = of(flat(ids))
    for one, other in zip(found, dense, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    # No bit of the other documents depends on the first.
    changed = of(flat([[1 + (token + 7) % 90 for token in ids[0]], *ids[1:]]))
    assert torch.equal(found[0][LENGTHS[0] :], changed[0][LENGTHS[0] :])
    assert not torch.equal(found[0][: LENGTHS[0]], changed[0][: LENGTHS[0]])


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_batches_are_those_of_sdpa(family: str, on_a_gpu: None) -> None:
    model, ids = model_of(*FAMILIES[family]), documents()
    width = max(LENGTHS)
    inputs = {
        "input_ids": torch.tensor([one + [0] * (width - len(one)) for one in ids]),
        "attention_mask": torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in ids]),
    }
    with torch.no_grad():
        wanted = [find_head(model).rows(inputs), model.generate(inputs["input_ids"][:, :5], max_new_tokens=5)]
        settle(model, torch.float32)
        assert attention_of(model) == VARIABLE
        found = [find_head(model).rows(inputs), model.generate(inputs["input_ids"][:, :5], max_new_tokens=5)]
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("fault", ["leaks", "scales", "fails"])
def test_a_kernel_that_is_wrong_is_not_kept(
    fault: str, on_a_gpu: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(query: torch.Tensor, key: Any, value: Any, starts: torch.Tensor, scale: Any, window: int) -> torch.Tensor:
        if fault == "fails":
            raise RuntimeError("no kernel image is available")
        if fault == "leaks":
            starts = torch.tensor([0, len(query)])
        return by_document(query, key, value, starts, 3.0 if fault == "scales" else scale, window)

    monkeypatch.setattr(attention, "by_document", wrong)
    model = model_of("LlamaConfig", {})
    with caplog.at_level(logging.WARNING, logger="autophage"):
        settle(model, torch.float32)
    assert attention_of(model) == "sdpa"
    assert "documents are padded, because" in caplog.text
    reason = {"leaks": "lets a document read another one", "scales": "differs from sdpa", "fails": "no kernel image"}
    assert reason[fault] in caplog.text


def test_documents_are_known_only_inside() -> None:
    inputs = flat(documents())
    with documents_of(inputs):
        assert attention.mask() is None
        with documents_of({"input_ids": inputs["input_ids"]}):
            assert attention._current.get() is None
    assert attention._current.get() is None


@pytest.mark.gpu
@pytest.mark.parametrize("window", [-1, 2])
def test_the_kernel_is_its_reference(window: int) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    lengths = torch.tensor([5, 1, 200, 64])
    starts = torch.cat([torch.zeros(1), lengths.cumsum(0)]).to("cuda", torch.int32)
    query, key, value = made = [
        torch.randn(
            int(lengths.sum()), 4, 64, generator=generator, device="cuda", dtype=torch.bfloat16
        ).requires_grad_()
        for _ in range(3)
    ]
    kernel = attention.kernel()
    found = kernel(query, key, value, starts, starts, 200, 200, scale=0.2, window_size=(window, 0))
    wanted = by_document(query, key, value, starts, 0.2, window)
    torch.testing.assert_close(found, wanted, atol=2e-2, rtol=2e-2)
    weight = torch.randn(found.shape, generator=generator, device="cuda", dtype=torch.bfloat16)
    for one, other in zip(
        torch.autograd.grad(found, made, weight), torch.autograd.grad(wanted, made, weight), strict=True
    ):
        torch.testing.assert_close(one, other, atol=5e-2, rtol=5e-2)


@pytest.mark.gpu
def test_a_model_on_a_gpu_keeps_the_kernel() -> None:
    model = model_of("LlamaConfig", {"head_dim": 16}).to("cuda", torch.bfloat16)
    settle(model, torch.bfloat16)
    assert attention_of(model) in (VARIABLE, FLASH)
