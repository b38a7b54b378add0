"""`[source]`: the human data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from autophage.recipe.tables.table import Fraction, PathText, Positive, Seed, Table


class SourceTable(Table):
    kind: Literal["world", "text", "dataset"] = Field("world", description="where human data comes from")
    path: PathText | None = Field(
        None, description="text: a UTF-8 file or folder; dataset: a hub id or a local dataset folder"
    )
    config: str | None = Field(None, min_length=1, description="dataset: its configuration, as in wikitext-2-raw-v1")
    split: str = Field("train", min_length=1, description="dataset: the split to read")
    test_split: str | None = Field(
        None,
        min_length=1,
        description="dataset: the split that is held out for measuring, instead of a share of `split`",
    )
    column: str = Field("text", min_length=1, description="dataset: the column that holds the text")
    block: Positive = Field(64, description="text, dataset: tokens of a prompt block")
    continuation: Positive = Field(64, description="text, dataset: tokens that continue a block")
    held_out: float = Field(0.1, gt=0.0, lt=1.0, description="text, dataset: share at the end kept for measuring")
    people: int = Field(300, ge=10, le=100_000, description="world: people; each has four facts")
    zipf: float = Field(0.8, ge=0.0, le=4.0, description="world: exponent of a person's exposure, by rank")
    held_out_documents: Positive = Field(200, description="world: documents kept for measuring")
    choices: Fraction = Field(
        0.0, description="world: share of documents that ask with four options to choose from, as questions may"
    )
    seed: Seed = Field(0, description="world: which world; the run's seed does not change it")
