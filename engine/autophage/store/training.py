"""`training.parquet`: what a model made of the tokens of each training step, before it learnt from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from autophage.store.atomic import replacing
from autophage.store.manifest import Manifest, true_file
from autophage.store.rundir import RunDirectory

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


def write_training(folder: Path, steps: Sequence[StepStatistics]) -> None:
    with replacing(folder / TRAINING) as temporary:
        table = pa.Table.from_pylist([asdict(step) for step in steps], schema=SCHEMA)
        pq.write_table(table, temporary, compression="zstd")


def read_training(run: RunDirectory, manifest: Manifest, columns: list[str]) -> pa.Table:
    """Columns of the steps that made a committed model (`StoreError` where the file is not as its manifest says)."""
    return pq.read_table(true_file(run, manifest, TRAINING), columns=columns)
