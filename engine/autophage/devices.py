"""What this process computes on: device, element type, threads. The one place that asks torch about hardware."""

from __future__ import annotations

import os

import torch

from autophage.recipe.schema import Recipe


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def element_type(recipe: Recipe) -> torch.dtype:
    """The type that sampler and trainer compute in; "auto" is float32 on a CPU and bfloat16 on a GPU."""
    if recipe.model.dtype != "auto":
        return torch.float32 if recipe.model.dtype == "float32" else torch.bfloat16
    return torch.bfloat16 if device().type == "cuda" else torch.float32


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0))


def pin_threads() -> None:
    """One thread per core and no spinning while waiting: two processes that spin on the same cores run 20x slower.

    Call before torch is imported where possible; inside an engine that fixed its threads already this changes nothing.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", cores())))
