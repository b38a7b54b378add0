"""`[source]`: the human data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from autophage.recipe.tables.table import Fraction, PathText, Positive, Seed, Table


class SourceTable(Table):
    """The human data: training data of the control, prompts, and held-out documents for measuring."""

    kind: Literal["world", "text", "dataset"] = Field(
        "world",
        description="Kind of human data. world: documents about the people of a built-in world, whose facts are known. "
        "text: UTF-8 files. dataset: a Hugging Face dataset.",
    )
    path: PathText | None = Field(
        None,
        description="text: UTF-8 file or folder. dataset: hub id or local dataset folder. Learner vae: folder with the files of "
        "MNIST; left out: drawn digits.",
    )
    config: str | None = Field(
        None, min_length=1, description="dataset: name of the configuration, for example wikitext-2-raw-v1."
    )
    split: str = Field("train", min_length=1, description="dataset: split that is read.")
    test_split: str | None = Field(
        None,
        min_length=1,
        description="dataset: split that is held out for measuring. Left out: the share `held_out` of `split`.",
    )
    column: str = Field("text", min_length=1, description="dataset: column that holds the text.")
    block: Positive = Field(64, description="text, dataset: tokens per prompt block.")
    continuation: Positive = Field(64, description="text, dataset: tokens of the human continuation of a block.")
    held_out: float = Field(
        0.1, gt=0.0, lt=1.0, description="text, dataset: share of the text, at its end, that is held out for measuring."
    )
    people: int = Field(300, ge=10, le=100_000, description="world: number of people. Each has four facts.")
    zipf: float = Field(
        0.8,
        ge=0.0,
        le=4.0,
        description="world: Zipf exponent of a person's frequency by rank. 0: all people are equally frequent.",
    )
    held_out_documents: Positive = Field(200, description="world: number of documents that are held out for measuring.")
    choices: Fraction = Field(
        0.0,
        description="world: share of documents that ask a question with four options. Multiple-choice questions need some.",
    )
    seed: Seed = Field(0, description="world: random seed of the world. The seed of the run does not change the world.")
