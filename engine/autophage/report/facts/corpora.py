"""Corpora of a run: the first shard of a generation, for a few generations of an arm."""

from __future__ import annotations

import pyarrow as pa

from autophage.store.corpus import read_corpus
from autophage.store.manifest import Manifest, shards, true_file
from autophage.store.rundir import RunDirectory


def shown_generations(last: int, count: int = 3) -> list[int]:
    """Choose `count` generations from 0 to `last` at even distances, both included.

    All are chosen if there are fewer. A `last` of -1 gives none.
    """
    return sorted({round(place * last / max(1, count - 1)) for place in range(count)}) if last >= 0 else []


def first_shard(run: RunDirectory, manifest: Manifest, columns: list[str]) -> pa.Table | None:
    """Read `columns` of the first corpus shard of a generation, one row for each sample.

    The result is None if the run was copied without its corpora.
    """
    paths = shards(run, manifest)[:1]
    if any(not path.is_file() for path in paths):
        return None
    return read_corpus([true_file(run, manifest, path.name) for path in paths], columns)
