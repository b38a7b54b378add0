"""PEFT adapters of the user on a loaded model, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autophage.data.model_folder import check_adapter_folder, tensor_names
from autophage.errors import UserError, foreign_errors
from autophage.store.weights import WEIGHTS


def with_adapter(loaded: Any, adapter: Path, model: str) -> Any:
    """Put the PEFT adapter in the folder `adapter` onto the loaded `model`, in evaluation mode.

    Raises:
        UserError: The folder holds no adapter, or one of another model.
    """
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
