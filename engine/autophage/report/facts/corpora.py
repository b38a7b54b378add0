"""Corpora of a run: the first shard of a generation, for a few generations of an arm."""

from __future__ import annotations

import pyarrow as pa

from autophage.store.corpus import read_corpus
from autophage.store.manifest import Manifest, shards, true_file
from autophage.store.rundir import RunDirectory


def shown_generations(last: int, count: int = 3) -> list[int]:
    """Generation 0, the last, and those between at even distances: `count` of them, or as many as there are."""
    return sorted({round(place * last / max(1, count - 1)) for place in range(count)}) if last >= 0 else []


def first_shard(run: RunDirectory, manifest: Manifest, columns: list[str]) -> pa.Table | None:
    """First corpus shard of a generation; None if the run was copied without its corpora."""
    paths = shards(run, manifest)[:1]
    if any(not path.is_file() for path in paths):
        return None
    return read_corpus([true_file(run, manifest, path.name) for path in paths], columns)
