from __future__ import annotations

from typing import Any

import pytest

from autophage.errors import UserError
from autophage.sampler.served import refuse_unserved, takes_adapters

WITH = ("LlamaForCausalLM", "MistralForCausalLM", "OPTForCausalLM", "Qwen3ForCausalLM")
WITHOUT = ("GPT2LMHeadModel", "GPTJForCausalLM")


def config(kind: str, architecture: str, **keys: Any) -> Any:
    import transformers

    return getattr(transformers, kind)(architectures=[architecture], **keys)


@pytest.mark.parametrize("architecture", WITH)
def test_architectures_with_adapters(architecture: str) -> None:
    assert takes_adapters(architecture) is True


@pytest.mark.parametrize("architecture", WITHOUT)
def test_architectures_without_adapters(architecture: str) -> None:
    assert takes_adapters(architecture) is False


@pytest.mark.parametrize("architecture", ["NoSuchForCausalLM", "GPTNeoXForCausalLM"])
def test_what_the_source_does_not_tell(architecture: str) -> None:
    """Unknown architectures, and those that transformers computes inside vLLM."""
    assert takes_adapters(architecture) is None


@pytest.mark.long
@pytest.mark.parametrize("architecture", [*WITH, *WITHOUT])
def test_the_engine_agrees(architecture: str) -> None:
    from vllm.model_executor.models import ModelRegistry
    from vllm.model_executor.models.interfaces import supports_lora

    assert supports_lora(ModelRegistry.models[architecture].load_model_cls()) is takes_adapters(architecture)


def test_a_family_without_adapters_is_told_to_train_all_weights() -> None:
    gpt2 = config("GPT2Config", "GPT2LMHeadModel", n_embd=64, n_head=2)
    with pytest.raises(UserError, match=r'serves a GPT2LMHeadModel, but not with LoRA adapters.*model.method = "full"'):
        refuse_unserved("m", gpt2, adapted=True, cpu=True)
    refuse_unserved("m", gpt2, adapted=False, cpu=True)


def test_head_sizes_count_on_a_cpu() -> None:
    llama = config("LlamaConfig", "LlamaForCausalLM", hidden_size=64, num_attention_heads=4)
    with pytest.raises(UserError, match=r"heads have 16 dimensions. On a CPU vLLM serves heads of 32, 64"):
        refuse_unserved("m", llama, adapted=True, cpu=True)
    refuse_unserved("m", llama, adapted=True, cpu=False)
    refuse_unserved(
        "m", config("LlamaConfig", "LlamaForCausalLM", hidden_size=64, num_attention_heads=2), adapted=True, cpu=True
    )


def test_a_model_without_attention() -> None:
    mamba = config("MambaConfig", "MambaForCausalLM", hidden_size=64)
    for adapted in (True, False):
        with pytest.raises(UserError, match="a MambaForCausalLM has no attention heads"):
            refuse_unserved("m", mamba, adapted=adapted, cpu=False)
