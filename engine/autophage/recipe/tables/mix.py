"""`[mix]`: the data that the next model is trained on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from autophage.recipe.tables.table import Fraction, Table

ALL = "all"
"""No domain: prompts and human data are about whatever the source is about."""


class MixTable(Table):
    alpha: Fraction = Field(1.0, description="synthetic fraction of what is trained on")
    schedule: Literal["constant", "decay", "last-chance"] = Field(
        "constant",
        description="of the fraction. decay: human text runs out, from alpha to alpha_final by equal steps; last-chance: alpha, "
        "and alpha_final for the last model alone",
    )
    alpha_final: Fraction | None = Field(
        None,
        description="synthetic fraction that the last model is trained on; left out: 1 with decay, 0 with last-chance",
    )
    rare: float = Field(
        1.0,
        ge=1.0,
        le=1000.0,
        description="how many times as often human documents about the rare are drawn: those that name a person of the tail "
        "first; of a text, the quarter of its windows with the most rare tokens",
    )
    pool: Literal["replace", "accumulate", "accumulate-subsample"] = Field(
        "replace", description="which generations' data are trained on (arXiv 2404.01413)"
    )
    human: Literal["fresh", "fixed"] = Field("fresh", description="new human data each generation, or the same")
    human_edit: float | None = Field(
        None,
        gt=0,
        le=1,
        description="tokens of human text that the model gives at least this probability are drawn from it anew before they are "
        "trained on (arXiv 2412.14689); left out: human text stays as it is",
    )
    short: Literal["fewer", "repeat", "human"] = Field(
        "fewer",
        description="where gates accept too few samples: train on fewer rows, repeat those that there are, or take human ones "
        "in their place",
    )
    domain: str = Field(
        ALL,
        min_length=1,
        description="what prompts and human data are about: all; an attribute of the world (city, job, employer, hobby), whose "
        "documents are about nothing else; or keywords (god, church), one of which each window of a text must have",
    )
