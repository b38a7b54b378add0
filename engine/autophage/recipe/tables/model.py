"""`[model]` and `[base]`: the language model that is trained, and the small one that is made where none is named."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from autophage.recipe.tables.table import LARGEST, PathText, Positive, Seed, Table

FROM_SOURCE = "from-source"
SUPPORTED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Adapter ranks that vLLM allocates slots for. A rank in between takes the next larger slot."""


class ModelTable(Table):
    path: PathText = Field(
        FROM_SOURCE,
        description='a model folder, a hub id, or "from-source": a small base model trained on the source and cached',
    )
    method: Literal["lora", "full"] = Field(
        "lora", description="what is trained: a LoRA adapter on every linear layer (lora), or all weights (full)"
    )
    rank: int = Field(32, ge=1, le=SUPPORTED_RANKS[-1], description="lora: rank of the adapter")
    lora_alpha: float | None = Field(None, gt=0, description="lora: scale numerator; twice the rank when left out")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="compute type of sampler and trainer; auto is float32 on a CPU and bfloat16 on a GPU"
    )

    @property
    def scale_numerator(self) -> float:
        return 2.0 * self.rank if self.lora_alpha is None else self.lora_alpha


class BaseTable(Table):
    """The small Llama that is trained from scratch when `model.path` is "from-source"."""

    hidden_size: int = Field(192, ge=32, le=4096, description="width; a multiple of heads")
    layers: int = Field(4, ge=1, le=64, description="decoder layers")
    heads: int = Field(3, ge=1, le=64, description="attention heads; hidden_size / heads must be a size vLLM serves")
    vocabulary: int = Field(
        4096, ge=300, le=65536, description="byte-level BPE entries (texts; a world has a word list)"
    )
    tokens: int = Field(1_000_000, ge=1000, le=LARGEST, description="training tokens")
    batch_size: Positive = Field(48, description="rows of a training step")
    length: int = Field(64, ge=8, le=4096, description="tokens of a training row")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate (AdamW, linear decay)")
    seed: Seed = Field(0, description="initial weights and data order")
