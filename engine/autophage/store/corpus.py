"""Corpus shards: one Parquet row per sample, one value per generated token in the list columns.

`ROWS_PER_SHARD` bounds a shard. Statistics are float32, of the model's full distribution at temperature 1 before any
truncation. `logprob` and `entropy` are in nats, `varentropy` in nats^2. `rank` is 1 plus the number of strictly more
probable tokens. `ppl_under_base` is the perplexity of the sample under model 0. It is null if the sample has no tokens
or the recipe does not measure drift.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autophage.errors import UNREADABLE, StoreError, first_line
from autophage.store.atomic import local, replacing

ROWS_PER_SHARD = 8192
STATISTICS = ("logprob", "entropy", "varentropy", "max_prob")

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("prompt", pa.string()),
        ("text", pa.string()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        *((name, pa.list_(pa.float32())) for name in STATISTICS),
        ("rank", pa.list_(pa.int64())),
        ("finish_reason", pa.string()),
        ("accepted", pa.bool_()),
        ("weight", pa.float32()),
        ("gate", pa.string()),
        ("seed", pa.int64()),
        ("ppl_under_base", pa.float64()),
    ]
)


@dataclass
class Sample:
    """One document that a model wrote, with statistics of each generated token.

    The statistics are arrays with a value per token of `token_ids`. They are recorded during sampling.

    Raises:
        StoreError: The number of values differs from the number of tokens.
    """

    sample_id: str
    prompt: str
    text: str
    prompt_ids: list[int]
    token_ids: list[int]
    finish_reason: str
    seed: int
    logprob: np.ndarray
    entropy: np.ndarray
    varentropy: np.ndarray
    max_prob: np.ndarray
    rank: np.ndarray
    accepted: bool = True
    weight: float = 1.0
    gate: str = ""
    ppl_under_base: float | None = None

    def __post_init__(self) -> None:
        for name in (*STATISTICS, "rank"):
            if (found := len(getattr(self, name))) != len(self.token_ids):
                raise StoreError(f"sample {self.sample_id}: {len(self.token_ids)} tokens with {found} values of {name}")

    @property
    def complete(self) -> bool:
        """True if the model ended the document itself, so that the end token belongs to the document."""
        return self.finish_reason == "stop"


def sample_id(run_seed: int, arm: str, generation: int, index: int, prompt_ids: Iterable[int], seed: int) -> str:
    """Return the id of a sample: 32 hex digits, a hash of everything that decides it.

    That is the seed of the run, the arm, the generation, the index and the prompt. The sample's own seed decides too.
    """
    key = f"{run_seed}/{arm}/{generation}/{index}/{seed}/" + ",".join(map(str, prompt_ids))
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def write_corpus(folder: Path, samples: list[Sample]) -> list[Path]:
    """Write `samples` in order as corpus shards under `folder`, and return the paths.

    Without samples there is one empty shard.
    """
    columns = {name: [getattr(sample, name) for sample in samples] for name in SCHEMA.names}
    return write_shards(folder, pa.table(columns, schema=SCHEMA))


def write_shards(folder: Path, corpus: pa.Table) -> list[Path]:
    """Write a table with one row per sample as corpus shards under `folder`, and return the paths."""
    paths = []
    for number, start in enumerate(range(0, max(len(corpus), 1), ROWS_PER_SHARD)):
        path = folder / f"corpus-{number:05d}.parquet"
        with replacing(path) as temporary:
            pq.write_table(corpus.slice(start, ROWS_PER_SHARD), temporary, compression="zstd")
        paths.append(path)
    return paths


def read_corpus(shards: Iterable[Path], columns: list[str] | None = None) -> pa.Table:
    """Read corpus shards as one table, in order; no rows without shards.

    Args:
        columns: Columns to read; None reads all.

    Raises:
        StoreError: A shard cannot be read.
    """
    tables = [_read_shard(path, SCHEMA.names if columns is None else columns) for path in shards]
    if not tables:
        schema = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
        return schema.empty_table()
    return pa.concat_tables(tables)


def _read_shard(path: Path, columns: list[str]) -> pa.Table:
    try:
        return _read_columns(path, columns)
    except UNREADABLE as error:
        raise StoreError(f"{path}: is no corpus that can be read ({first_line(error)})") from error


def _read_columns(path: Path, columns: list[str]) -> pa.Table:
    table = pq.read_table(local(path), columns=columns)
    table.validate(full=True)  # raises for invalid UTF-8 and for offsets out of bounds
    return table


def read_samples(shards: Iterable[Path]) -> list[Sample]:
    return [sample for path in shards for sample in _samples_of(path)]


def _samples_of(path: Path) -> list[Sample]:
    rows = _read_shard(path, SCHEMA.names).to_pylist()
    try:
        for row in rows:
            for name in (*STATISTICS, "rank"):
                row[name] = np.asarray(row[name], dtype=np.int64 if name == "rank" else np.float32)
        return [Sample(**row) for row in rows]
    except (StoreError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: holds a row that is no sample ({first_line(error)})") from error
