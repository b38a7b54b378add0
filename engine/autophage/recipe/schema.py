"""The schema of a recipe: its settings, gates, sweep and remedies.

It does not know where a value was written (`load`), how a sweep unfolds (`arms`) or what a key makes the engine do.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from autophage.recipe.settings import Settings
from autophage.recipe.tables.gate import AnyGate

SweepValue = str | int | float | bool


class Recipe(Settings):
    """One run. `[sweep]` maps dotted keys to the values of its arms, `[remedies.NAME]` to the values of one remedy."""

    gate: list[AnyGate] = Field(default_factory=list, description="what judges samples, one after the other")
    sweep: dict[str, Annotated[list[SweepValue], Field(min_length=1)]] = Field(
        default_factory=dict, description="dotted key -> values; arms are their combinations"
    )
    remedies: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="name -> dotted key -> value: what the arms of that remedy have instead"
    )
