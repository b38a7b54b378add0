"""Random weights that are written without a model: transformers loads them, and no two rows are equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness import random_weights
from harness.random_weights import write_weights
from harness.shapes import SHAPES, LlamaShape
from harness.subject import llama_config

UNTIED = LlamaShape(64, 2, 4, kv_heads=2, intermediate=96, vocabulary=300, tied=False)


@pytest.mark.thorough
@pytest.mark.parametrize("shape", [SHAPES["tiny"], UNTIED], ids=["tied", "untied"])
def test_transformers_loads_every_tensor(shape: LlamaShape, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    llama_config(shape).save_pretrained(tmp_path)
    write_weights(shape, torch.bfloat16, tmp_path / "model.safetensors")
    loaded: Any = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16, output_loading_info=True)
    model, facts = loaded
    assert not any(facts.values()), facts
    norms = (2 * shape.layers + 1) * shape.hidden
    assert sum(one.numel() for one in model.parameters()) == shape.parameters + norms
    with torch.no_grad():
        logits = model(torch.arange(3, 203)[None]).logits.float()
    assert logits.std() == pytest.approx(random_weights.LOGIT_SCALE, rel=0.1)


def test_a_small_pool_repeats_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding is larger than the pool, as that of 8B is."""
    import safetensors.torch

    monkeypatch.setattr(random_weights, "POOL", 1021)
    write_weights(UNTIED, torch.float32, tmp_path / "model.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert len(torch.unique(tensors[name], dim=0)) == UNTIED.vocabulary
    assert not torch.equal(tensors["model.embed_tokens.weight"], tensors["lm_head.weight"])
    assert tensors["lm_head.weight"].std() == pytest.approx(random_weights.STANDARD_DEVIATION, rel=0.1)
