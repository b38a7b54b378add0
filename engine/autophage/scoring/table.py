"""Output of scoring: one Parquet row per token, and a summary with intervals.

Rows are written as they arrive, so memory does not grow with the text. The summary keeps sums per window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autophage.metrics.intervals import Estimate, ratio_bootstrap

STATISTICS = ("logprob", "entropy", "varentropy", "max_prob", "mass_above", "rank", "ties", "argmax")
DIVERGENCES = ("kl", "reverse_kl")
RESAMPLES = 1000
SEED = 0
ROW_GROUP = 1 << 16
"""Minimum rows of a Parquet row group. A group per window would consist mostly of headers."""


def schema(with_reference: bool) -> pa.Schema:
    """Return the names and types of the columns of the Parquet file of scored tokens.

    Log-probs, entropies and divergences are in nats, varentropy in nats^2. `with_reference` adds the divergences.
    """
    integers = {"rank", "ties", "argmax"}
    columns = [
        ("document", pa.string()),
        ("position", pa.int32()),  # place of the token in its document, from 0
        ("token_id", pa.int32()),
        ("token", pa.string()),
        *((name, pa.int32() if name in integers else pa.float32()) for name in STATISTICS),
    ]
    return pa.schema([*columns, *((name, pa.float32()) for name in DIVERGENCES)] if with_reference else columns)


@dataclass(frozen=True)
class ScoreSummary:
    """Summary of scored documents: their number, the numbers of windows and scored tokens, and mean statistics.

    `estimates` maps a statistic to its value with an interval. The statistics are perplexity, entropy, varentropy,
    surprisal_gap, rank and top1. A reference adds kl and reverse_kl.
    """

    documents: int
    windows: int
    tokens: int
    estimates: dict[str, Estimate]

    def facts(self) -> dict[str, object]:
        """Return all fields as a nested mapping of plain values, for JSON."""
        return asdict(self)


class Sums:
    """Sums of each statistic over the tokens of each window. Means over all tokens and their intervals follow."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._counts: list[float] = []

    @property
    def windows(self) -> int:
        """Number of windows added so far."""
        return len(self._counts)

    @property
    def tokens(self) -> int:
        """Number of scored tokens in all windows so far."""
        return int(sum(self._counts))

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        """Add one window, given as a mapping from statistic to its values for the scored tokens."""
        surprisal = -columns["logprob"].astype(np.float64)
        entropy = columns["entropy"].astype(np.float64)
        values = {
            "perplexity": surprisal,
            "entropy": entropy,
            "varentropy": columns["varentropy"],
            "surprisal_gap": surprisal - entropy,
            "rank": columns["rank"],
            "top1": columns["rank"] == 1,
            **{name: columns[name] for name in DIVERGENCES if name in columns},
        }
        for name, value in values.items():
            self._sums.setdefault(name, []).append(float(np.sum(value, dtype=np.float64)))
        self._counts.append(float(len(surprisal)))

    def estimates(self) -> dict[str, Estimate]:
        """Return the mean of each statistic over all tokens, with a bootstrap interval over windows.

        Perplexity is the exponential of the mean surprisal.
        """
        counts = np.array(self._counts)
        found = {}
        for name, sums in self._sums.items():
            totals = np.array(sums)
            low, high = ratio_bootstrap(totals, counts, RESAMPLES, SEED)
            estimate = Estimate(float(totals.sum() / counts.sum()), low, high, self.tokens)
            if name == "perplexity":
                estimate = Estimate(_exp(estimate.value), _exp(low), _exp(high), self.tokens)
            found[name] = estimate
        return found


class TokenTable:
    """Writer of the Parquet file of scored tokens at `path`, one row per token.

    The caller renames the file when it is complete.
    """

    def __init__(self, path: Path, with_reference: bool) -> None:
        self._schema = schema(with_reference)
        self._waiting: list[pa.Table] = []
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def add(
        self, document: str, positions: Sequence[int], tokens: Sequence[str], columns: Mapping[str, np.ndarray]
    ) -> None:
        """Append one row per scored token of a window of `document`.

        `positions` are token indices in the document, from 0. `tokens` are the tokens as text. `columns` has token_id
        and every statistic.
        """
        rows = {"document": [document] * len(positions), "position": positions, "token": tokens, **columns}
        self._waiting.append(pa.table({name: rows[name] for name in self._schema.names}, schema=self._schema))
        if sum(table.num_rows for table in self._waiting) >= ROW_GROUP:
            self._write()

    def close(self) -> None:
        """Write the remaining rows and the file's footer."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting = []


def _exp(value: float) -> float:
    """Return e^value, or infinity if `value` is 700 nats or more. NaN stays NaN.

    Such a mean surprisal comes from tokens that are all but impossible.
    """
    return math.exp(value) if value < 700 else math.inf if value == value else math.nan
