"""What is read from vLLM's source is what vLLM says itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.recipe.checks.training import HEAD_SIZES
from autophage.sampler import families

ASK_VLLM = """
import json
from autophage.host import environment
environment.apply()
from vllm.model_executor.models.registry import ModelRegistry
import torch, vllm._custom_ops
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

wanted, adapters, modules = json.loads({wanted!r}), {{}}, {{}}
for name in wanted or ModelRegistry.models:
    try:
        model = ModelRegistry.models[name].load_model_cls()
    except Exception:  # some need packages that are not installed
        continue
    adapters[name] = bool(getattr(model, "supports_lora", False))
print(json.dumps({{
    "registered": sorted(ModelRegistry.models),
    "adapters": adapters,
    "sizes": sorted(CPUAttentionBackend.get_supported_head_sizes()),
    "scans": hasattr(torch.ops._C, "selective_scan_fwd"),
}}))
"""
SOME = ("LlamaForCausalLM", "MistralForCausalLM", "GPT2LMHeadModel", "MambaForCausalLM", "GPTNeoXForCausalLM")


def ask_vllm(*wanted: str) -> dict[str, object]:
    import json

    command = [sys.executable, "-c", ASK_VLLM.format(wanted=json.dumps(wanted))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(found: dict[str, object]) -> int:
    """Compare vLLM's answers with ours. Return the number of architectures without adapters."""
    assert found["registered"] == sorted(families._registered())
    assert found["sizes"] == sorted(families.cpu_head_sizes())
    assert isinstance(found["adapters"], dict)
    ours = {name: families.serves_adapters(name) for name in found["adapters"]}
    refused = {name for name, serves in ours.items() if serves is False}
    assert {name for name in refused if found["adapters"][name]} == set()
    assert {name for name in ours if families.missing_package(name)} == set()
    return len(refused)


@pytest.mark.thorough
def test_a_few_families() -> None:
    found = ask_vllm(*SOME)
    assert compare(found) == 2
    assert found["adapters"] == {name: families.serves_adapters(name) for name in SOME}
    assert (families.needs_gpu("MambaForCausalLM") is None) == found["scans"]
    assert families.needs_gpu("LlamaForCausalLM") is None
    assert families.has_experts("MixtralForCausalLM")
    assert not families.has_experts("LlamaForCausalLM")


@pytest.mark.long
def test_no_family_with_adapters_is_refused() -> None:
    assert compare(ask_vllm()) > 20


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_is_installed", lambda package: package != "torchvision")
    assert families.missing_package("Gemma3ForConditionalGeneration") == "torchvision"
    assert families.missing_package("LlamaForCausalLM") is None
    monkeypatch.setattr(families, "_is_installed", lambda _: True)
    assert families.missing_package("Gemma3ForConditionalGeneration") is None


FIRST_TOKEN = """
from autophage.host import environment
environment.apply()
import sys
from autophage.errors import UserError
from autophage.sampler.engine import Sampler
from autophage.sampler.protocol import EngineSettings

try:
    Sampler(EngineSettings(
        model_path=sys.argv[1], seed=1, rank=0, target_modules=(), longest=32, concurrency=2, mixed=1, adapters=2,
        dtype="float32", device="cpu", memory=None, sleeps=False, kv_bytes_per_token=1024, shares_device=True,
        tensor_parallel=1, quantized=False, beam_recipe=None,
    ))
except UserError as refusal:
    print(refusal)
"""


@pytest.mark.long
def test_a_kernel_that_is_missing_at_the_first_token_is_a_refusal(tiny_model: Callable[..., Path]) -> None:
    command = [sys.executable, "-c", FIRST_TOKEN, str(tiny_model("llama", heads=4))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "vLLM cannot serve it (Unsupported CPU attention configuration: head_dim=16" in done.stdout, done.stderr[
        -3000:
    ]


def test_a_base_model_has_heads_that_are_served() -> None:
    assert set(HEAD_SIZES) <= families.cpu_head_sizes()


def test_another_architecture_is_not_judged() -> None:
    assert families.is_registered("NoSuchModel") is False
    assert families.serves_adapters("NoSuchModel") is None
    assert families.needs_gpu("NoSuchModel") is None


def test_a_source_of_another_form_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (families._registered, families.cpu_head_sizes):
        found.cache_clear()
    monkeypatch.setattr(families, "_tree", lambda _: ast.parse("MODELS = load()"))
    try:
        assert families.is_registered("LlamaForCausalLM") is None
        assert families.serves_adapters("GPT2LMHeadModel") is None
        assert families.needs_gpu("MambaForCausalLM") is None
        assert families.cpu_head_sizes() == frozenset()
    finally:
        for found in (families._registered, families.cpu_head_sizes):
            found.cache_clear()
