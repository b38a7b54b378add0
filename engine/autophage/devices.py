"""What this process computes on: device and element type. The one place that asks torch about hardware."""

from __future__ import annotations

import torch

from autophage.recipe.schema import Recipe


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def element_type(recipe: Recipe) -> torch.dtype:
    """The type that sampler and trainer compute in; "auto" is float32 on a CPU and bfloat16 on a GPU."""
    return named_type(recipe.model.dtype)


def named_type(dtype: str) -> torch.dtype:
    """`element_type` by its name: auto, float32 or bfloat16."""
    if dtype != "auto":
        return torch.float32 if dtype == "float32" else torch.bfloat16
    return torch.bfloat16 if device().type == "cuda" else torch.float32
