"""A broken batch is read back unchanged. A NaN stays a NaN, and an unknown value is null."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet as pq

from autophage.store.broken import BrokenDocument, write_broken_batch


def test_it_is_read_back(tmp_path: Path) -> None:
    documents = [
        BrokenDocument([1, 5, 6], [False, True, True], [None, math.nan, -0.5]),
        BrokenDocument([1, 7], [False, True], [None, None]),
    ]
    path = write_broken_batch(tmp_path / "logs" / "x.parquet", documents, lambda ids: "-".join(map(str, ids)))
    first, second = pq.read_table(path).to_pylist()
    assert first["text"] == "1-5-6"
    assert first["logprob"][0] is None
    assert math.isnan(first["logprob"][1])
    assert first["logprob"][2] == -0.5
    assert second == {"place": 1, "text": "1-7", "token_ids": [1, 7], "trained": [False, True], "logprob": [None, None]}
    assert list(path.parent.iterdir()) == [path]
