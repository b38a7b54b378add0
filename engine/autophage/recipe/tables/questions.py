"""`[questions]`: questions with four options that every generation answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from autophage.recipe.tables.table import PathText, Positive, Seed, Table, require_distinct

OPEN_FORMATS = ("question-answer", "cloze")
"""Formats that list no options."""


class QuestionsTable(Table):
    """Questions with four options that every generation answers (arXiv 2509.04796)."""

    kind: Literal["none", "mmlu", "world", "places"] = Field(
        "none",
        description="Kind of questions. none: no questions. mmlu: multiple-choice questions by subject. world: questions about "
        "the facts of the built-in world. places: questions about cities and countries (extra autophage[places]).",
    )
    path: PathText | None = Field(
        None,
        description="mmlu: hub id, or folder with test/SUBJECT_test.csv and dev/SUBJECT_dev.csv (or all files in one folder).",
    )
    subjects: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None,
        min_length=1,
        description="Subjects that are asked. Left out: all. A world has head, torso and tail. Places have cities, capitals, "
        "currencies and continents.",
    )
    formats: list[
        Literal["multiple-choice", "few-shot", "short-answer", "no-instruction", "question-answer", "cloze"]
    ] = Field(
        ["multiple-choice", "few-shot", "short-answer", "no-instruction"],
        min_length=1,
        description="Forms in which a question is asked. places: also question-answer and cloze, which list no options.",
    )
    count: Positive = Field(
        100,
        description="Questions per subject. mmlu: the first ones. world: spread over the subject's people. places: per subject "
        "and class of population (head, torso, tail), spread over the ranks.",
    )
    shots: int = Field(3, ge=1, le=100, description="few-shot: answered questions before the open one.")
    chat: Literal["auto", True, False] = Field(
        "auto",
        description="mmlu, places: ask in a user turn of the model's chat template. auto: if the model has one. The format cloze "
        "never is.",
    )
    seed: Seed = Field(0, description="places: random seed of wrong options and of the order of options.")
    generate: bool = Field(True, description="Also generate a greedy answer to each question, and grade it.")
    max_tokens: Positive = Field(64, description="Maximum tokens of a generated answer.")
    entailment: PathText | None = Field(
        None,
        description="Model folder or hub id of an entailment classifier. It measures how far generated answers entail the right "
        "answer. Left out: not measured.",
    )

    _distinct = field_validator("subjects", "formats")(require_distinct)
