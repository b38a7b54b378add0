"""`training.parquet`: statistics of the tokens of each training step under the model before the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from autophage.store.atomic import local, replacing
from autophage.store.manifest import Manifest, Metric, true_file
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
        ("divergence", pa.float32()),
        ("withheld", pa.float32()),
    ]
)


@dataclass(frozen=True)
class StepStatistics:
    """Means over the trained tokens of one optimizer step.

    A mean is NaN if the step had no such tokens. It is NaN too if the statistic does not apply.
    """

    step: int
    tokens: int
    loss: float  # nats
    entropy: float  # nats
    varentropy: float  # nats^2
    rank: float  # 1 is the model's own first choice
    top1: float  # share of tokens of rank 1
    divergence: float  # nats, from the reference that the recipe's [anchor] names, in the direction it names
    withheld: float  # share of tokens whose loss was truncated, clipped or masked


def step_metrics(steps: Sequence[StepStatistics]) -> list[Metric]:
    """Return the metrics `anchor/kl` and `anchor/withheld`, as means over the trained tokens of all steps.

    A metric that applies to no step is left out.
    """
    found = []
    for metric, name in (("anchor/kl", "divergence"), ("anchor/withheld", "withheld")):
        known = [(getattr(step, name), step.tokens) for step in steps if not math.isnan(getattr(step, name))]
        if tokens := sum(count for _, count in known):
            found.append(Metric(metric, sum(value * count for value, count in known) / tokens, n=tokens))
    return found


def write_training(folder: Path, steps: Sequence[StepStatistics]) -> None:
    with replacing(folder / TRAINING) as temporary:
        table = pa.Table.from_pylist([asdict(step) for step in steps], schema=SCHEMA)
        pq.write_table(table, temporary, compression="zstd")


def read_training(run: RunDirectory, manifest: Manifest, columns: list[str]) -> pa.Table:
    """Read columns of `training.parquet` of a committed generation, a row per step.

    Raises:
        StoreError: The file differs from the manifest.
    """
    return pq.read_table(local(true_file(run, manifest, TRAINING)), columns=columns)
