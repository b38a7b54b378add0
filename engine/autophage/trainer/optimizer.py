"""AdamW's state as safetensors bytes: what it takes to go on with an optimizer where another process left it.

Per trained parameter, by the name it is stored under: the two moments and the number of steps taken. Learning rate and
weight decay are not state: they are settings of the next training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch

PARTS = ("exp_avg", "exp_avg_sq", "step")


def optimizer_bytes(optimizer: Any, parameters: Mapping[str, torch.nn.Parameter]) -> bytes:
    """The state of `parameters`; those that never had a gradient have none."""
    tensors = {
        f"{part}/{name}": optimizer.state[parameter][part].detach().to("cpu", torch.float32).contiguous()
        for name, parameter in parameters.items()
        if parameter in optimizer.state
        for part in PARTS
    }
    return safetensors.torch.save(tensors)


def restore_optimizer(optimizer: Any, parameters: Mapping[str, torch.nn.Parameter], state: bytes) -> None:
    """Put `state` into an optimizer that has taken no step."""
    tensors = safetensors.torch.load(state)
    for name, parameter in parameters.items():
        if f"{PARTS[0]}/{name}" in tensors:
            # The fused AdamW wants its count of steps beside the parameter.
            optimizer.state[parameter] = {part: tensors[f"{part}/{name}"].to(parameter.device) for part in PARTS}
