"""`[measure]` and `[questions]`: what is measured of every generation.

Nothing here changes what a model is trained on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from autophage.recipe.tables.table import PathText, Positive, Table


class MeasureTable(Table):
    formats: list[Literal["question-answer", "cloze", "few-shot"]] = Field(
        ["question-answer", "cloze", "few-shot"], min_length=1, description="world: how a probe asks"
    )
    probes: Positive | None = Field(
        None, description="world: people asked about, spread over ranks; left out: everybody"
    )
    documents: Positive = Field(256, description="held-out documents or windows that are scored, spread evenly")
    confident: float = Field(
        0.5, gt=0.0, lt=1.0, description="world: a wrong answer above this probability is confidently wrong"
    )
    drift: bool = Field(
        True,
        description="score the samples under model 0 and the previous model too (drift/*, detect/*, tail/ppl_under_base): "
        "up to three forward passes",
    )
    pairwise: int = Field(
        100, ge=2, le=2000, description="samples that are compared pair by pair (self-BLEU, Vendi score, distances)"
    )
    reference: Positive = Field(
        2000, description="human documents or windows that rare tokens and new n-grams are told by"
    )
    harness: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, min_length=1, description="tasks of lm-evaluation-harness that every generation is given"
    )
    harness_path: PathText | None = Field(None, description="a folder with tasks of your own, as YAML files")
    harness_limit: Positive | None = Field(None, description="documents of a task, the first ones; left out: all")
    resamples: int = Field(1000, ge=100, le=100_000, description="bootstrap resamples behind a 95% interval")

    @field_validator("formats")
    @classmethod
    def _once_each(cls, formats: list[str]) -> list[str]:
        if len(set(formats)) != len(formats):
            raise ValueError("names a format twice")
        return formats
