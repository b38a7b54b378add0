"""`[train]`: how a model is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from autophage.recipe.tables.table import Fraction, Positive, Table

VALIDATED = 64
"""Held-out documents that judge an epoch with `keep = "best"`. None of them is measured."""


class TrainTable(Table):
    """Training of model g+1."""

    chain: Literal["cumulative", "restart"] = Field(
        "cumulative",
        description="Initial weights of model g+1. cumulative: those of model g. restart: those of the base model.",
    )
    optimizer: Literal["fresh", "carried"] = Field(
        "fresh",
        description="AdamW moments at the start of a generation. fresh: zero. carried: those of the arm's previous generation, "
        "in cumulative chains only. The learning-rate schedule starts again in either case.",
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="Weights that are kept. last: those after the last epoch. best: those after the epoch with the lowest loss "
        "on held-out human text.",
    )
    epochs: float = Field(4.0, gt=0, le=1000, description="Passes over the training data. Fractions are allowed.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate (AdamW).")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="Learning-rate schedule after the warm-up."
    )
    warmup: Fraction = Field(0.0, description="Share of the steps in which the learning rate rises to its peak.")
    weight_decay: float = Field(0.0, ge=0.0, description="Weight decay (AdamW).")
    batch_size: Positive = Field(32, description="Documents per optimizer step.")
    loss_on: Literal["continuation", "completion", "all"] = Field(
        "continuation",
        description="Tokens with a loss. continuation: the sample becomes a document of its own, with its annotation if it has "
        "one. completion: the sample, with the prompt as context. all: prompt and sample. With bos prompts all three are equal.",
    )
    packing: Literal["auto", "padded", "padding-free"] = Field(
        "auto",
        description="Layout of a batch. padded: rows are padded to one length. padding-free: rows are concatenated; this needs a "
        "variable-length attention kernel. auto: padding-free where such a kernel is installed.",
    )
    compile: bool = Field(
        False,
        description="Compile the decoder layers for training (torch.compile). The first training takes minutes longer, later "
        "ones are faster on a GPU that waits for the host. Results differ by rounding.",
    )
