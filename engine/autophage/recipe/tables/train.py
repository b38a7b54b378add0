"""`[train]`: how a model is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from autophage.recipe.tables.table import Fraction, Positive, Table

VALIDATED = 64
"""Held-out documents that judge an epoch with `keep = "best"`. None of them is measured."""


class TrainTable(Table):
    chain: Literal["cumulative", "restart"] = Field(
        "cumulative", description="model g+1 continues from model g, or starts from the base model"
    )
    optimizer: Literal["fresh", "carried"] = Field(
        "fresh",
        description="AdamW's moments start at zero in each generation, or go on from the arm's previous one (cumulative "
        "chains only); the learning rate's schedule starts again in either case",
    )
    keep: Literal["last", "best"] = Field(
        "last", description="the weights after the last epoch, or after the one that predicts held-out human text best"
    )
    epochs: float = Field(4.0, gt=0, le=1000, description="passes over the mixed corpus; may be fractional")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate (AdamW)")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="of the learning rate")
    warmup: Fraction = Field(0.0, description="share of the steps over which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0.0, description="AdamW weight decay")
    batch_size: Positive = Field(32, description="documents of an optimizer step")
    loss_on: Literal["continuation", "completion", "all"] = Field(
        "continuation",
        description="continuation: a sample is a document of its own, with its annotation if it has one; completion: the prompt "
        "is context without loss; all: loss on prompt and completion. The same thing when prompts are bos",
    )
    packing: Literal["auto", "padded", "padding-free"] = Field(
        "auto", description="padding-free needs a variable-length attention kernel; auto takes it where there is one"
    )
