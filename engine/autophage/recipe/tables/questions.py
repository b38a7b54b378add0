"""`[questions]`: multiple-choice questions that every generation answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from autophage.recipe.tables.table import PathText, Positive, Table


class QuestionsTable(Table):
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
