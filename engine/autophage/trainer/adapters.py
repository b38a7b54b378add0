"""LoRA adapters on a model, made by PEFT, and PEFT's refusals of a model before its weights are loaded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from autophage.errors import foreign_errors


def adapter_config(rank: int, alpha: float) -> Any:
    """Return PEFT's configuration of an adapter on every linear layer but the LM head."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


@contextmanager
def adapters_refused(path: str) -> Iterator[None]:
    """Tell an error with which PEFT refuses the model at `path` as a `UserError` with the remedy."""
    with foreign_errors(f"model {path!r}: PEFT cannot put adapters on it", 'Train all weights: method = "full".'):
        yield


def require_adapters(path: str, config: Any) -> None:
    """Ask PEFT for an adapter on a model without weights, from its configuration in transformers.

    A model that cannot be made without weights passes. Loading it tells.

    Raises:
        UserError: PEFT puts no adapters on this family.
    """
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception:  # a family may need values while it is made
        return
    with adapters_refused(path), warnings.catch_warnings(action="ignore"):
        get_peft_model(empty, adapter_config(1, 1.0))
