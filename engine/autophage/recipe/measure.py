"""`[measure]` and `[questions]`: what is measured of every generation.

Nothing here changes what a model is trained on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from autophage.recipe.table import PathText, Positive, Table


class Measure(Table):
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


class Questions(Table):
    """Four-way questions that every generation answers (arXiv 2509.04796)."""

    kind: Literal["none", "mmlu", "world"] = Field(
        "none", description="mmlu: multiple-choice questions by subject; world: about the facts of the built-in world"
    )
    path: PathText | None = Field(
        None,
        description="mmlu: a folder with test/SUBJECT_test.csv and dev/SUBJECT_dev.csv (or all in one folder), or a hub id",
    )
    subjects: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, min_length=1, description="which subjects; left out: all. Those of a world are head, torso and tail"
    )
    formats: list[Literal["multiple-choice", "few-shot", "short-answer", "no-instruction"]] = Field(
        ["multiple-choice", "few-shot", "short-answer", "no-instruction"],
        min_length=1,
        description="how a question is asked",
    )
    count: Positive = Field(
        100, description="questions of a subject: the first ones; of a world spread over the subject's people"
    )
    shots: int = Field(3, ge=1, le=100, description="few-shot: answered questions before the open one")
    chat: Literal["auto", True, False] = Field(
        "auto", description="mmlu: ask as a user turn of the model's chat template; auto: where it has one"
    )
    generate: bool = Field(True, description="also sample a greedy answer to each question, and read it")
    max_tokens: Positive = Field(64, description="tokens of a sampled answer")
    entailment: PathText | None = Field(
        None,
        description="a model folder or hub id that classifies pairs by entailment: how far sampled answers entail the right one",
    )

    @field_validator("subjects", "formats")
    @classmethod
    def _once_each(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and len(set(names)) != len(names):
            raise ValueError("names one twice")
        return names
