"""The schema of a recipe: its settings, gates, sweep and remedies.

The schema does not know the location of a value (`load`), the arms of a sweep (`arms`) or the effect of a key.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from autophage.recipe.settings import Settings
from autophage.recipe.tables.gate import AnyGate

SweepValue = str | int | float | bool


class Recipe(Settings):
    """A complete, validated recipe."""

    gate: list[AnyGate] = Field(default_factory=list, description="Gates that judge the samples, in this order.")
    sweep: dict[str, Annotated[list[SweepValue], Field(min_length=1)]] = Field(
        default_factory=dict, description="Dotted key to a list of values. The arms are all combinations of the values."
    )
    remedies: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Name of a remedy to dotted keys and values. They replace the recipe's values in the arms of that remedy.",
    )
