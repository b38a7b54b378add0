"""The layout of a trainer on several GPUs: the whole model on each, or its layers split over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autophage.plan.footprint import demand
from autophage.plan.machines import here
from autophage.plan.memory import RESERVE, holds_whole, sampler_bytes, trainer_bytes
from autophage.plan.shape import configured_shape
from autophage.recipe.arms import Arm
from autophage.recipe.batching import MOST_MIXED
from autophage.recipe.schema import Recipe


def keeps_whole(recipe: Recipe, config: Mapping[str, Any], arms: Sequence[Arm], device_bytes: int | None) -> bool:
    """Return True if each rank of a trainer holds the whole model, because the memory of its GPU is enough.

    Ranks on a CPU share one memory, so they split the layers. So do ranks of a model whose shape is unknown.

    Args:
        config: The model's configuration as a dictionary.
        device_bytes: Memory of a GPU; None on a CPU.
    """
    shape = configured_shape(dict(config))
    if device_bytes is None or shape is None:
        return False
    gpus = (recipe.cluster.sampler_gpus, recipe.cluster.trainer_gpus)
    # The most adapters that a sampler can mix. The division of the GPU is made later, and may find fewer.
    asked = [demand(here(), arm.recipe, shape, gpus, min(len(arms), MOST_MIXED)) for arm in arms]
    largest = max(asked, key=lambda one: sampler_bytes(one).total + trainer_bytes(one).total)
    if recipe.sample.memory is not None and recipe.devices != "disjoint":
        return trainer_bytes(replace(largest, whole=True)).total <= device_bytes * (1 - RESERVE - recipe.sample.memory)
    return holds_whole(device_bytes, largest, recipe.devices)
