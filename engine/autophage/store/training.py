"""What a training leaves behind, and `training.parquet`: what a model made of each step's tokens, before it learnt from them.

`Trained` goes from the trainer's process to the driver's, which must not have to load torch in order to receive it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from autophage.store.atomic import replacing
from autophage.store.weights import Weights

TRAINING = "training.parquet"

SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("tokens", pa.int32()),
        ("loss", pa.float32()),
        ("entropy", pa.float32()),
        ("varentropy", pa.float32()),
        ("rank", pa.float32()),
        ("top1", pa.float32()),
    ]
)


@dataclass(frozen=True)
class StepStatistics:
    """Means over the trained tokens of one step; NaN where it had none."""

    step: int
    tokens: int
    loss: float  # nats
    entropy: float  # nats
    varentropy: float  # nats^2
    rank: float  # 1 is the model's own first choice
    top1: float  # share of tokens of rank 1


@dataclass(frozen=True)
class Trained:
    """Trained weights, how many tokens they were trained on, and what each step's tokens looked like to the model."""

    weights: Weights
    tokens: int
    steps: list[StepStatistics]
    optimizer: bytes | None = None
    """AdamW's state, where the recipe carries it into the next generation."""


def write_training(folder: Path, steps: Sequence[StepStatistics]) -> None:
    with replacing(folder / TRAINING) as temporary:
        table = pa.Table.from_pylist([asdict(step) for step in steps], schema=SCHEMA)
        pq.write_table(table, temporary, compression="zstd")
