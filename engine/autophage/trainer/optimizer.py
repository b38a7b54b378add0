"""The state of AdamW as safetensors bytes, to continue an optimizer in another process.

Each trained parameter has two moments and a step count under its stored name. Learning rate and weight decay are not
state: the next training sets them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch

PARTS = ("exp_avg", "exp_avg_sq", "step")


def optimizer_bytes(optimizer: Any, parameters: Mapping[str, torch.nn.Parameter]) -> bytes:
    """Return the AdamW state of `parameters` as safetensors bytes, under the parameters' stored names.

    A parameter that never had a gradient has no state.
    """
    tensors = {
        f"{part}/{name}": optimizer.state[parameter][part].detach().to("cpu", torch.float32).contiguous()
        for name, parameter in parameters.items()
        if parameter in optimizer.state
        for part in PARTS
    }
    return safetensors.torch.save(tensors)


def restore_optimizer(optimizer: Any, parameters: Mapping[str, torch.nn.Parameter], state: bytes) -> None:
    """Load the bytes of `optimizer_bytes` into an optimizer that has taken no step."""
    tensors = safetensors.torch.load(state)
    for name, parameter in parameters.items():
        if f"{PARTS[0]}/{name}" in tensors:
            # The fused AdamW needs its step count on the device of the parameter.
            optimizer.state[parameter] = {part: tensors[f"{part}/{name}"].to(parameter.device) for part in PARTS}
