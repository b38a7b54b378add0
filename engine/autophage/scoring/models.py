"""Loading of a model for scoring: causal language model, tokenizer, optional adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autophage.data.model_folder import check_adapter_folder, check_rows, tensor_names
from autophage.data.tokens import load_tokenizer
from autophage.errors import UserError, foreign_errors
from autophage.host.devices import element_type
from autophage.store.weights import WEIGHTS
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
        loaded = _with_adapter(loaded, adapter, model)
    name = model if adapter is None else f"{model} + {adapter}"
    tokenizer = load_tokenizer(model)
    check_rows(model, loaded.config, tokenizer)
    return Scorer(name, find_head(loaded), tokenizer)


def _with_adapter(loaded: Any, adapter: Path, model: str) -> Any:
    from peft import PeftModel, get_peft_model_state_dict

    check_adapter_folder(adapter)
    remedy = "An adapter fits only the model it was trained on."
    with foreign_errors(f"{adapter}: does not fit {model}", remedy):
        adapted = PeftModel.from_pretrained(loaded, str(adapter)).eval()
    # PEFT only warns, and keeps its initial values where the file has none: the model would be the base.
    expected = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    held = tensor_names(adapter / WEIGHTS)
    for names, fault in (
        (expected - held, "lacks"),
        (held - expected, "has a tensor that the model has no place for:"),
    ):
        if names:
            raise UserError(f"{adapter}: {fault} {min(names)} ({len(names)} such tensors). {remedy}")
    return adapted
