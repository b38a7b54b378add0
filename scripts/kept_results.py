"""Kept results of the shipped recipes: `recipes/results/NAME.parquet`, one file a run.

Rows are the run's metrics with seeds pooled. The file's metadata holds everything else as JSON under `KEY`, such as command,
seconds, environment and findings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

KEY = b"autophage.result"
SCHEMA = pa.schema(
    [
        pa.field("arm", pa.string(), nullable=False),
        pa.field("generation", pa.int32(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        *(pa.field(bound, pa.float64()) for bound in ("low", "high")),
        pa.field("n", pa.int64()),
    ]
)


def write(folder: Path, result: dict[str, Any]) -> Path:
    """Write a result to `RECIPE-PROFILE.parquet` in the folder and return the path."""
    facts = {key: value for key, value in result.items() if key != "metrics"}
    path = folder / f"{'-'.join(filter(None, (result['recipe'], result['profile'])))}.parquet"
    # As metadata of the Arrow schema the facts would be stored twice.
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", compression_level=19, store_schema=False) as writer:
        writer.write_table(pa.Table.from_pylist(result["metrics"], SCHEMA))
        writer.add_key_value_metadata({KEY: json.dumps(facts)})
    return path


def read(path: Path) -> dict[str, Any]:
    """The result as it was written, its rows under `metrics`."""
    with pq.ParquetFile(path) as file:
        facts: dict[str, Any] = json.loads(file.metadata.metadata[KEY])
        return {**facts, "metrics": file.read().to_pylist()}


def read_all(folder: Path) -> list[dict[str, Any]]:
    """Every result of the folder, by name."""
    return [read(path) for path in sorted(folder.glob("*.parquet"))]
