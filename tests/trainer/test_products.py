"""FLOPs of the matrix products of several families, against those that torch counts in a forward and a backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    Qwen3MoeConfig,
)

from autophage.trainer.products import elements, flops, products_of

SIZES: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
FAMILIES = {
    "llama": LlamaConfig(vocab_size=200, num_key_value_heads=2, **SIZES),
    "llama, tied": LlamaConfig(vocab_size=200, num_key_value_heads=2, tie_word_embeddings=True, **SIZES),
    "gemma3": Gemma3TextConfig(vocab_size=200, num_key_value_heads=2, head_dim=24, **SIZES),
    "gpt2": GPT2Config(vocab_size=200, n_embd=64, n_layer=3, n_head=4, n_inner=96),
    "mixtral": MixtralConfig(vocab_size=200, num_key_value_heads=2, num_local_experts=4, **SIZES),
    "qwen3 moe": Qwen3MoeConfig(
        vocab_size=200, num_key_value_heads=2, num_experts=6, num_experts_per_tok=2,
        moe_intermediate_size=48, **(SIZES | {"head_dim": 16}),
    ),
}  # fmt: skip
MATRIX_PRODUCTS = ("mm", "addmm", "linear", "_grouped_mm", "grouped_mm")
ROWS = 24


def counted(model: Any, passes: str) -> int:
    """FLOPs of the linear layers as torch counts them. Attention's batched products are of other operations."""
    ids = torch.arange(ROWS).view(2, -1)
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids, use_cache=False).logits
        if passes == "both":
            logits.sum().backward()
    by_operation = counter.get_flop_counts()["Global"]
    return sum(count for operation, count in by_operation.items() if operation.__name__ in MATRIX_PRODUCTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_flops_are_those_that_torch_counts(family: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family], experts_implementation="eager")
    products = products_of(model)
    assert flops(products, ROWS, ROWS) == counted(model, "forward")


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_a_backward_pass_has_twice_the_flops_of_a_forward_pass(family: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family], experts_implementation="eager")
    assert 3 * flops(products_of(model), ROWS, ROWS) == counted(model, "both")


def test_the_head_computes_its_own_rows() -> None:
    products = products_of(AutoModelForCausalLM.from_config(FAMILIES["llama, tied"]))
    [head] = [one for one in products if one.head]
    assert (head.inputs, head.outputs, head.count) == (64, 200, 1)
    assert flops(products, ROWS, 1) == flops(products, ROWS, ROWS) - 2 * 64 * 200 * (ROWS - 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_weights_of_a_model_are_read_by_many_tokens(family: str) -> None:
    model = AutoModelForCausalLM.from_config(FAMILIES[family])
    lookups = {"model.embed_tokens.weight", "transformer.wte.weight", "transformer.wpe.weight"}
    matrices = [tensor.numel() for name, tensor in model.named_parameters() if tensor.ndim > 1 and name not in lookups]
    if FAMILIES[family].tie_word_embeddings:
        matrices.append(model.get_output_embeddings().weight.numel())
    assert elements(products_of(model), 1000, 1000) == sum(matrices)


def test_few_tokens_read_only_the_experts_that_they_choose() -> None:
    products = products_of(AutoModelForCausalLM.from_config(FAMILIES["mixtral"]))
    [down] = [one for one in products if one.name.endswith("down_proj")]
    assert down.calls(1) == (3 * 2, 1)
    assert down.calls(16) == (3 * 4, 8)


def test_a_model_on_the_meta_device_has_the_same_products() -> None:
    config = FAMILIES["qwen3 moe"]
    with torch.device("meta"):
        products = products_of(AutoModelForCausalLM.from_config(config))
    assert products == products_of(AutoModelForCausalLM.from_config(config))
