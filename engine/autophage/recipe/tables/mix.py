"""`[mix]`: the training data of the next model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from autophage.recipe.tables.table import Fraction, Table

ALL = "all"
"""Value of `mix.domain` for no domain: prompts and human data have every subject of the source."""


class MixTable(Table):
    """The training data of model g+1: synthetic and human rows."""

    alpha: Fraction = Field(
        1.0, description="Synthetic fraction of the training data. 0: human data only. 1: synthetic data only."
    )
    schedule: Literal["constant", "decay", "last-chance"] = Field(
        "constant",
        description="Schedule of the synthetic fraction. constant: alpha throughout. decay: equal steps from alpha to "
        "alpha_final, as human text runs out. last-chance: alpha, and alpha_final for the last model alone.",
    )
    alpha_final: Fraction | None = Field(
        None,
        description="Synthetic fraction of the last model's training data. Left out: 1 with decay, 0 with last-chance.",
    )
    rare: float = Field(
        1.0,
        ge=1.0,
        le=1000.0,
        description="Factor by which rare human documents are drawn more often. World: documents whose first name belongs to a "
        "person of the tail are rare. Text: the quarter of the windows with the most rare tokens is rare.",
    )
    pool: Literal["replace", "accumulate", "accumulate-subsample"] = Field(
        "replace",
        description="Generations whose data are trained on (arXiv 2404.01413). replace: the last one. accumulate: the human data "
        "from before the loop, and every generation. accumulate-subsample: sample.count rows drawn from that pool.",
    )
    human: Literal["fresh", "fixed"] = Field(
        "fresh", description="Human data. fresh: new data in each generation. fixed: the same data throughout."
    )
    human_edit: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Resample human tokens whose model probability is at least this, before training (arXiv 2412.14689). Left "
        "out: human text is not edited.",
    )
    short: Literal["fewer", "repeat", "human"] = Field(
        "fewer",
        description="Fallback where gates accept too few samples. fewer: train on fewer rows. repeat: repeat the accepted "
        "samples. human: take human rows in their place.",
    )
    domain: str = Field(
        ALL,
        min_length=1,
        description="Subject of prompts and human data. all: every subject. World: an attribute (city, job, employer, hobby), "
        "and documents about nothing else. Text: keywords (god, church), one of which each window must contain.",
    )
