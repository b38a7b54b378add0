"""A model with dropout is scored without it, before and after adapters are added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from autophage.data.tokens import byte_pair_tokenizer
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import ModelTable
from autophage.trainer.head import find_head
from autophage.trainer.resident import ResidentModel

pytestmark = pytest.mark.thorough

TEXT = "In the year 1000 the harbour was rebuilt by 7 masons and a pilot. " * 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = byte_pair_tokenizer([TEXT], 300)
    config = transformers.OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        dropout=0.3,
        attention_dropout=0.3,
    )
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_the_same_text_scores_the_same_twice(folder: Path) -> None:
    resident = ResidentModel(str(folder), Recipe(name="t", model=ModelTable(path=str(folder), rank=4)))
    ids = resident.tokenizer.encode(TEXT, add_special_tokens=False)[:100]

    def scored() -> np.ndarray:
        (one,) = resident.score([ids], [1])
        return one.logprob

    first = scored()
    assert np.array_equal(scored(), first)
    other = ResidentModel(str(folder), Recipe(name="t", model=ModelTable(path=str(folder), rank=8)))
    resident.load(other.base_weights())  # a second adapter, of another rank
    assert np.array_equal(scored(), first)
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logprob_LV = plain(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    assert np.abs(first - logprob_LV.gather(1, torch.tensor(ids)[1:, None])[:, 0].numpy()).max() < 1e-5


def test_the_trial_of_a_head_leaves_each_modules_flag(folder: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).train()
    model.model.decoder.layers[0].eval()
    before = [module.training for module in model.modules()]
    find_head(model)
    assert [module.training for module in model.modules()] == before
