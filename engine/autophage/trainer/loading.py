"""A causal language model from a folder or hub id, on this process's device or another."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from autophage.data.own_code import refuse_own_code
from autophage.errors import UserError, first_line
from autophage.host.devices import device


def load_model(path: str, dtype: torch.dtype, where: torch.device | None = None) -> Any:
    """The model in evaluation mode, on this process's device or `where` it is wanted.

    Raises:
        UserError: it cannot be loaded, or wants code of its own to be run.
    """
    disable_progress_bar()  # of the weights, over which a run's own view would have to be drawn
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        refuse_own_code(path, error)
        raise UserError(
            f"model {path!r}: cannot be loaded as a causal language model ({first_line(error)}). Give a folder with "
            "config.json and safetensors weights, or a hub id that is reachable or cached."
        ) from error
    return model.to(where or device()).eval()
