"""`[measure]`: the measurements of every generation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from autophage.recipe.tables.table import PathText, Positive, Table, require_distinct


class MeasureTable(Table):
    """The measurements of every generation. None of them changes training data."""

    every: Positive = Field(
        1,
        description="Generations from one measurement of the model to the next. Generation 0 and the last one are always "
        "measured. In others no model scores probes, questions, held-out documents, harness tasks or samples (drift). What the "
        "samples alone tell is measured in every generation, and gates judge them.",
    )
    formats: list[Literal["question-answer", "cloze", "few-shot"]] = Field(
        ["question-answer", "cloze", "few-shot"], min_length=1, description="world: forms in which a probe is asked."
    )
    probes: Positive | None = Field(
        None, description="world: number of people that probes ask about, spread over the ranks. Left out: everybody."
    )
    documents: Positive = Field(
        256, description="Number of held-out documents or windows that are scored, spread evenly."
    )
    confident: float = Field(
        0.5, gt=0.0, lt=1.0, description="Probability above which a wrong answer counts as confidently wrong."
    )
    drift: bool = Field(
        True,
        description="Score the samples under model 0 and under the previous model too (drift/*, detect/*, "
        "tail/ppl_under_base). This takes up to three forward passes.",
    )
    pairwise: int = Field(
        100,
        ge=2,
        le=2000,
        description="Number of samples that are compared pair by pair (self-BLEU, Vendi score, distances).",
    )
    reference: Positive = Field(
        2000, description="Number of human documents or windows that define rare tokens and new n-grams."
    )
    harness: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None,
        min_length=1,
        description="Tasks of lm-evaluation-harness that every generation is evaluated on. Left out: none.",
    )
    harness_path: PathText | None = Field(None, description="Folder with harness tasks of your own, as YAML files.")
    harness_limit: Positive | None = Field(
        None, description="Number of documents per harness task, the first ones. Left out: all."
    )
    resamples: int = Field(1000, ge=100, le=100_000, description="Bootstrap resamples of a 95% interval.")

    _distinct = field_validator("formats")(require_distinct)
