"""`metrics.parquet`: the metrics of all committed generations in one long table.

Columns: arm, generation, metric, value, low, high, n. The table is derived from the `metrics.json` of each generation.
Every commit adds its rows, and the start of a run compares the whole table with the generations.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from autophage.errors import UNREADABLE, StoreError
from autophage.store.atomic import local, replacing
from autophage.store.manifest import METRICS, Metric, committed, metric_row, read_metrics, true_file
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
    """Read the metrics of `arms` from their committed generations into one table, a row per metric.

    Raises:
        StoreError: A generation's metrics differ from its manifest.
    """
    rows = []
    for arm in arms:
        for manifest in committed(run, arm):
            true_file(run, manifest, METRICS)
            rows += _rows(arm, manifest.generation, read_metrics(run.generation(arm, manifest.generation)))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_metrics_table(run: RunDirectory, arms: list[str]) -> None:
    _write(run, collect(run, arms))


def is_current(run: RunDirectory, arms: list[str]) -> bool:
    """Return True if `metrics.parquet` equals the metrics of the committed generations of `arms`.

    Raises:
        StoreError: A generation's metrics differ from its manifest.
    """
    made = collect(run, arms)
    try:
        return bool(read_metrics_table(run).equals(made))
    except StoreError:  # an unreadable table is rewritten
        return False


def add_to_metrics_table(
    run: RunDirectory, arms: Sequence[str], arm: str, generation: int, metrics: Sequence[Metric]
) -> None:
    """Insert the metrics of one generation into `metrics.parquet`, in the order of `arms`.

    Earlier rows of that generation are replaced. The other rows are kept unread. Reading all generations again would
    make each commit slower than the last.
    """
    table = read_metrics_table(run)
    replaced = pc.and_(pc.equal(table["arm"], arm), pc.equal(table["generation"], generation))
    table = pa.concat_tables(
        [table.filter(pc.invert(replaced)), pa.Table.from_pylist(_rows(arm, generation, metrics), schema=SCHEMA)]
    )
    table = table.append_column("place", pc.index_in(table["arm"], value_set=pa.array(arms, pa.string())))
    table = table.filter(pc.is_valid(table["place"]))
    order = pc.sort_indices(table, sort_keys=[("place", "ascending"), ("generation", "ascending")])  # a stable sort
    _write(run, table.take(order).drop_columns(["place"]))


def _rows(arm: str, generation: int, metrics: Sequence[Metric]) -> list[dict[str, object]]:
    return [{"arm": arm, "generation": generation, **metric_row(metric)} for metric in metrics]


def _write(run: RunDirectory, table: pa.Table) -> None:
    with replacing(run.metrics) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_metrics_table(run: RunDirectory) -> pa.Table:
    """Read `metrics.parquet` of a run; no rows if it was never written.

    Raises:
        StoreError: The table cannot be read.
    """
    if not run.metrics.is_file():
        return SCHEMA.empty_table()
    try:
        return pq.read_table(local(run.metrics), schema=SCHEMA)
    except UNREADABLE as error:
        raise StoreError(f"{run.metrics}: is no table of metrics ({error})") from error
