"""Loading of a model for scoring: causal language model, tokenizer, optional adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autophage.data.model_folder import check_rows
from autophage.data.tokens import load_tokenizer
from autophage.host.devices import element_type
from autophage.trainer.adapters import with_adapter
from autophage.trainer.head import LanguageHead, find_head
from autophage.trainer.loading import load_model

DType = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Scorer:
    """A model that is loaded for scoring, with its name for messages and the tokenizer of its folder."""

    name: str
    head: LanguageHead
    tokenizer: Any

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the model scores. The tokenizer may have fewer."""
        return int(self.head.model.config.get_text_config().vocab_size)

    @property
    def positions(self) -> int | None:
        """Maximum sequence length of the model in tokens, or None if its configuration states none."""
        return getattr(self.head.model.config.get_text_config(), "max_position_embeddings", None)


def load_scorer(model: str, adapter: Path | None = None, dtype: DType = "auto") -> Scorer:
    """Load a causal language model and its tokenizer from a folder or hub id, for scoring.

    `adapter` is the folder of a PEFT adapter. `dtype` "auto" is float32 on a CPU and bfloat16 on a GPU.

    Raises:
        UserError: Model, tokenizer or adapter cannot be loaded, or the adapter belongs to another model.
    """
    loaded = load_model(model, element_type(dtype))
    if adapter is not None:
        loaded = with_adapter(loaded, adapter, model)
    name = model if adapter is None else f"{model} + {adapter}"
    tokenizer = load_tokenizer(model)
    check_rows(model, loaded.config, tokenizer)
    return Scorer(name, find_head(loaded), tokenizer)
