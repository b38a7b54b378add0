"""Loading of causal language models from a folder or hub id."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from autophage.data.own_code import refuse_own_code
from autophage.errors import UserError, first_line
from autophage.host.devices import device
from autophage.trainer.attention import settle


def load_model(
    path: str, dtype: torch.dtype, where: torch.device | None = None, compute: torch.dtype | None = None
) -> Any:
    """Load a causal language model from a folder or hub id, in evaluation mode.

    The model moves to `where`, or to this process's device if None. `compute` is the type in which it will compute,
    if not `dtype`.

    Raises:
        UserError: the model cannot be loaded, or needs code of its own.
    """
    disable_progress_bar()  # the bar of the weights would disturb the view of a run
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
    model.to(where or device()).eval()
    settle(model, compute or dtype)
    return model
