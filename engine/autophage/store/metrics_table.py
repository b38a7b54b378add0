"""`metrics.parquet`: every committed generation's metrics in one long table, for readers that want columns.

Columns: arm, generation, metric, value, low, high, n. The manifests' `metrics.json` are the truth; this table is made
from them again after each commit.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from autophage.errors import StoreError
from autophage.store.atomic import replacing
from autophage.store.manifest import METRICS, committed, read_metrics, true_file
from autophage.store.rundir import RunDirectory

SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("generation", pa.int32()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
    ]
)


def collect(run: RunDirectory, arms: list[str]) -> pa.Table:
    """The metrics of `arms`, read from their committed generations.

    Raises:
        StoreError: a generation's metrics are not what its manifest says.
    """
    rows = []
    for arm in arms:
        for manifest in committed(run, arm):
            true_file(run, manifest, METRICS)
            for metric in read_metrics(run.generation(arm, manifest.generation)):
                rows.append({"arm": arm, "generation": manifest.generation, **vars(metric)})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_metrics_table(run: RunDirectory, arms: list[str]) -> None:
    with replacing(run.metrics) as temporary:
        pq.write_table(collect(run, arms), temporary, compression="zstd")


def read_metrics_table(run: RunDirectory) -> pa.Table:
    """The table as it was last written; no rows where it never was, `StoreError` where it cannot be read."""
    if not run.metrics.is_file():
        return SCHEMA.empty_table()
    try:
        return pq.read_table(run.metrics, schema=SCHEMA)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:  # what pyarrow raises, by its kinds
        raise StoreError(f"{run.metrics}: is no table of metrics ({error})") from error
