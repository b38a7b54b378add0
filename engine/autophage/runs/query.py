"""SQL over a run's samples, tokens and metrics, through DuckDB.

The tables hold committed generations only. Corpora are read as they lie: a query reads the columns, arms and generations
that it names, and no others. Hashes are not compared with the manifests; `autophage verify` does that. The package
duckdb is optional.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from autophage.display import listed
from autophage.errors import StoreError, UserError, first_line
from autophage.store.atomic import local
from autophage.store.corpus import SCHEMA, STATISTICS
from autophage.store.manifest import committed, shards
from autophage.store.metrics_table import collect
from autophage.store.numbers import SCHEMA as NUMBERS
from autophage.store.numbers import is_numeric
from autophage.store.rundir import RunDirectory

INSTALL = 'pip install "autophage[query]"'
BATCH = 1024
"""Rows that are read from DuckDB at once."""
READING = ("SELECT", "EXPLAIN")
"""Kinds of statements that change nothing. DESCRIBE, SUMMARIZE, FROM, WITH and VALUES are SELECT to DuckDB."""
TOKENS = f"""\
CREATE VIEW tokens AS
SELECT arm, generation, sample_id, unnest(range(len(token_ids))) AS position, unnest(token_ids) AS token_id,
       {", ".join(f"unnest({name}) AS {name}" for name in (*STATISTICS, "rank"))}, accepted, weight
FROM samples
"""
"""Statement that makes the table `tokens`. `position` counts the tokens of a sample from 0."""


@dataclass(frozen=True)
class QueryResult:
    """Result of a query: names of its columns, and its rows as they are read."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


def query(run: RunDirectory, arms: Sequence[str], sql: str) -> QueryResult:
    """QueryResult one SQL query over the tables `samples`, `tokens` and `metrics` of a run.

    `samples` has the columns of the corpora, after `arm` and `generation`. `tokens` has a row for each generated token.
    `metrics` has the columns of `metrics.parquet`. A run of a learner in closed form has no tokens.

    Raises:
        UserError: DuckDB is not installed, or `sql` is not one query that DuckDB can answer.
        StoreError: A corpus is missing, or metrics differ from their manifest.
    """
    try:
        import duckdb
    except ImportError as error:
        raise UserError(f"`autophage query` needs DuckDB, which is not installed. Install it: {INSTALL}") from error
    connection, tables = duckdb.connect(), ["samples", "metrics"]
    try:
        # Nothing is fetched from a network, whatever a query names.
        connection.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type.name not in READING:
            raise UserError("A query is one SELECT statement. It can change nothing in a run.")
        samples = _samples(run, arms)
        connection.register("samples", samples)
        connection.register("metrics", collect(run, list(arms)))
        if "token_ids" in samples.schema.names:
            tables.insert(1, "tokens")
            connection.execute(TOKENS)
        found = connection.execute(statements[0])
        columns = [str(column[0]) for column in found.description or ()]
        first = found.fetchmany(BATCH)
    except duckdb.Error as error:
        raise _refused(error, tables) from error
    return QueryResult(columns, _rows(found, first, tables))


def _rows(found: Any, batch: list[tuple[Any, ...]], tables: list[str]) -> Iterator[tuple[Any, ...]]:
    import duckdb

    while batch:
        yield from batch
        try:
            batch = found.fetchmany(BATCH)
        except duckdb.Error as error:
            raise _refused(error, tables) from error


def _refused(error: Exception, tables: list[str]) -> UserError:
    """Return DuckDB's first line as a message, with the tables that there are."""
    return UserError(f"{first_line(error).rstrip('.!')}. The tables are {listed(tables)}.")


def _samples(run: RunDirectory, arms: Sequence[str]) -> Any:
    """Return the corpora of all committed generations as one dataset of pyarrow. It reads nothing yet.

    Arm and generation are properties of a file, so that a query about one generation opens its files alone.
    """
    paths: list[Path] = []
    places = []
    for arm in arms:
        for manifest in committed(run, arm):
            for path in shards(run, manifest):
                paths.append(path)
                generation = pa.scalar(manifest.generation, pa.int32())
                places.append((ds.field("arm") == arm) & (ds.field("generation") == generation))
    if missing := [path for path in paths if not path.is_file()]:
        raise StoreError(f"{missing[0]}: is missing. Restore it, or see `autophage verify {run.root}`.")
    rows = NUMBERS if paths and is_numeric(paths[0]) else SCHEMA
    schema = pa.schema([("arm", pa.string()), ("generation", pa.int32()), *rows])
    return ds.FileSystemDataset.from_paths(
        [str(local(path)) for path in paths],
        schema=schema,
        format=ds.ParquetFileFormat(),
        filesystem=fs.LocalFileSystem(),
        partitions=places,
    )
