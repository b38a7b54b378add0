"""Corpora of numbers, drawn by learners that are no language models. One Parquet row per sample.

`values` has the numbers of a sample in the order that `learner.json` states: a point, a row of features with its label,
the pixels of an image. A row of an arm with several independent chains concatenates their samples. The number of rows
therefore does not depend on the number of chains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autophage.store.atomic import local
from autophage.store.corpus import write_shards

SCHEMA = pa.schema([("sample_id", pa.string()), ("values", pa.list_(pa.float32())), ("seed", pa.int64())])


@dataclass(frozen=True)
class Numbers:
    """Samples of a learner that is no language model, as float32 [samples, width].

    `seed` is the seed of the draw that made them.
    """

    sample_ids: list[str]
    values: np.ndarray
    seed: int

    def __len__(self) -> int:
        return len(self.values)


def write_numbers(folder: Path, corpus: Numbers) -> list[Path]:
    """Write samples of numbers as the corpus shards of a generation, and return their paths."""
    rows, width = corpus.values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    values = pa.ListArray.from_arrays(offsets, pa.array(corpus.values.ravel(), pa.float32()))
    seeds = pa.array(np.full(rows, corpus.seed, dtype=np.int64))
    return write_shards(folder, pa.table([pa.array(corpus.sample_ids, pa.string()), values, seeds], schema=SCHEMA))


def read_numbers(shards: Iterable[Path]) -> np.ndarray:
    """Read corpus shards of numbers as float32 [samples, width]. Without samples the shape is [0, 0]."""
    parts = [pq.read_table(local(path), columns=["values"]).column("values").combine_chunks() for path in shards]
    rows = sum(map(len, parts))
    if not rows:
        return np.empty((0, 0), dtype=np.float32)
    flat: np.ndarray = np.concatenate([part.flatten().to_numpy(zero_copy_only=False) for part in parts])
    return flat.reshape(rows, -1)


def read_table(shards: Iterable[Path]) -> pa.Table:
    """Read corpus shards of numbers as one table with the columns of `SCHEMA`."""
    return pa.concat_tables([pq.read_table(local(path), schema=SCHEMA) for path in shards])


def is_numeric(shard: Path) -> bool:
    """Return True if a corpus shard holds numbers instead of texts."""
    return "values" in pq.read_schema(local(shard)).names
