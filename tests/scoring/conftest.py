"""A small model and its tokenizer on disk, as input of `autophage score`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TEXT = "".join(f"In the year {n} the harbour was rebuilt by {n % 7} masons and a pilot.\n" for n in range(300))


def save_model(folder: Path, vocabulary: int, hidden: int = 32, seed: int = 0) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from autophage.data.tokens import byte_pair_tokenizer

    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=128,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    byte_pair_tokenizer([TEXT], 400).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def text() -> str:
    return TEXT


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    return save_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its vocabulary is larger than its tokenizer's."""
    return save_model(tmp_path_factory.mktemp("model"), 512)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path
