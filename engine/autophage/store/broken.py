"""A training batch whose loss or gradient was not finite, kept for diagnosis: one Parquet row per document.

`logprob` is null for tokens without loss and for tokens that the model did not reach. A NaN stays a NaN. The files lie
beside the logs and belong to no generation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from autophage.store.atomic import replacing

SCHEMA = pa.schema(
    [
        ("place", pa.int32()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("trained", pa.list_(pa.bool_())),
        ("logprob", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class BrokenDocument:
    """One document of a training batch whose loss or gradient was not finite.

    The lists have a value per token. `trained` is True for tokens that carry loss. `logprob` is in nats. It is None for
    tokens without loss, and for tokens that the model did not reach.
    """

    token_ids: list[int]
    trained: list[bool]
    logprob: list[float | None]


def write_broken_batch(path: Path, documents: Sequence[BrokenDocument], decode: Callable[[list[int]], str]) -> Path:
    """Write the documents of a training batch, in its order, as a Parquet file. Return `path`.

    Args:
        decode: Turns token ids into text.
    """
    rows = [
        {"place": place, "text": decode(document.token_ids), **vars(document)}
        for place, document in enumerate(documents)
    ]
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary, compression="zstd")
    return path
