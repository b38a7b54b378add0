"""`[model]` and `[base]`: the language model, and the small one that is trained where none is named."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from autophage.recipe.tables.table import LARGEST, PathText, Positive, Seed, Table, require_distinct

FROM_SOURCE = "from-source"
SUPPORTED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Adapter ranks that vLLM allocates slots for. A rank in between takes the next larger slot."""


def require_date(date: str) -> str:
    """Return `date` unchanged, if it is a date like 2025-01-31.

    Raises:
        ValueError: It is none.
    """
    try:
        datetime.date.fromisoformat(date)
    except ValueError as error:
        raise ValueError(f"is no date of the form YYYY-MM-DD ({error})") from None
    return date


def require_arguments(arguments: list[str]) -> list[str]:
    """Return `arguments` unchanged, if each is name=value and no name occurs twice.

    Raises:
        ValueError: One has another form, or a name occurs twice.
    """
    for argument in arguments:
        if not argument.partition("=")[0].isidentifier() or "=" not in argument:
            raise ValueError(f"{argument!r} is not of the form name=value")
    require_distinct([_argument(argument)[0] for argument in arguments])
    return arguments


def _argument(argument: str) -> tuple[str, Any]:
    name, _, value = argument.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


class ModelTable(Table):
    """The language model, and which of its weights are trained."""

    path: PathText = Field(
        FROM_SOURCE,
        description='Model folder, hub id, GGUF file (extra autophage[gguf]; converted once and cached), or "from-source": a '
        "small base model, trained on the source and cached.",
    )
    merge_adapter: bool = Field(
        False, description="`path` is the folder of a PEFT adapter: merge it into its base once, and cache the result."
    )
    method: Literal["lora", "full"] = Field(
        "lora", description="Weights that are trained. lora: a LoRA adapter on every linear layer. full: all weights."
    )
    rank: int = Field(32, ge=1, le=SUPPORTED_RANKS[-1], description="lora: rank of the adapter.")
    lora_alpha: float | None = Field(
        None, gt=0, description="lora: numerator of the adapter's scale, lora_alpha / rank. Left out: twice the rank."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Compute type of sampler and trainer. auto: float32 on a CPU, bfloat16 on a GPU."
    )

    chat_template_kwargs: Annotated[list[str], AfterValidator(require_arguments)] | None = Field(
        None,
        min_length=1,
        description='Arguments of the model\'s chat template as "name=value", for example ["enable_thinking=false"].',
    )
    date: Annotated[str, AfterValidator(require_date)] = Field(
        "2025-01-01",
        description="Date (YYYY-MM-DD) that a chat template takes for today. Prompts do not depend on the clock.",
    )

    @property
    def template_arguments(self) -> dict[str, Any]:
        """The arguments of the chat template by name. A value is JSON, such as false or 3, or else a string."""
        return dict(map(_argument, self.chat_template_kwargs or ()))

    @property
    def scale_numerator(self) -> float:
        return 2.0 * self.rank if self.lora_alpha is None else self.lora_alpha


class BaseTable(Table):
    """The small Llama that is trained from scratch when `model.path` is "from-source"."""

    hidden_size: int = Field(192, ge=32, le=4096, description="Hidden size. It must be a multiple of heads.")
    layers: int = Field(4, ge=1, le=64, description="Number of decoder layers.")
    heads: int = Field(
        3,
        ge=1,
        le=64,
        description="Number of attention heads. hidden_size / heads must be a head size that vLLM serves.",
    )
    vocabulary: int = Field(
        4096, ge=300, le=65536, description="text, dataset: number of byte-level BPE tokens. A world has a word list."
    )
    tokens: int = Field(1_000_000, ge=1000, le=LARGEST, description="Number of training tokens.")
    batch_size: Positive = Field(48, description="Rows per training step.")
    length: int = Field(64, ge=8, le=4096, description="Tokens per training row.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate (AdamW, linear decay).")
    seed: Seed = Field(0, description="Random seed of initial weights and data order.")
