"""The recorded statistics of a batch, as bytes from vLLM's worker to the engine. Both sides use numpy.

A row is one sampled token. Rows are ordered by request and output position. If a position was sampled twice, the last
row counts. Joining rows to the returned tokens reveals every fault of the recording. A fault is a missing row, another
token or a number that is not finite. Knows neither torch nor vLLM.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.numpy

from autophage.errors import RunError
from autophage.metrics.scored import Statistics
from autophage.store.corpus import STATISTICS

NAMES = (*STATISTICS, "rank")
"""Statistics in the order of their columns. `rank` counts from 1."""


@dataclass(frozen=True)
class Record:
    """Recorded statistics of N sampled tokens. A row is one token; rows are ordered by request and position."""

    spans: dict[str, tuple[int, int]]
    """First row and row after the last of each request, by vLLM's internal id."""
    positions: np.ndarray
    """[N], index of each token in its request's output, from 0."""
    columns: np.ndarray
    """[1 + len(`NAMES`), N]: the token id, then the statistics `NAMES`."""
    faults: dict[str, int]
    """Number of faults while recording, by name."""

    @classmethod
    def of(
        cls,
        request_ids: Sequence[str],
        position_N: np.ndarray,
        valid_N: np.ndarray,
        blocks_SN: Sequence[np.ndarray],
        faults: dict[str, int],
    ) -> Record:
        """Build a record from rows in the order of sampling.

        Rows that are not `valid_N` are left out, because vLLM discards their tokens. Of rows with one request and
        position the last one counts.
        """
        numbers = {name: number for number, name in enumerate(dict.fromkeys(request_ids))}
        owner_N = np.array([numbers[name] for name in request_ids], dtype=np.int64)
        columns_SN = np.concatenate([*blocks_SN, np.empty((1 + len(NAMES), 0), np.float32)], axis=1)
        # Stable, so that among rows of one (request, position) the last is the one sampled last.
        order = np.lexsort((position_N, owner_N))
        order = order[valid_N[order]]
        owner_N, position_N = owner_N[order], position_N[order]
        last = np.ones(len(order), dtype=bool)
        last[:-1] = (owner_N[1:] != owner_N[:-1]) | (position_N[1:] != position_N[:-1])
        owner_N, position_N, columns_SN = owner_N[last], position_N[last], columns_SN[:, order[last]]
        low, high = (np.searchsorted(owner_N, np.arange(len(numbers)), side=side) for side in ("left", "right"))
        spans = {name: (int(low[number]), int(high[number])) for name, number in numbers.items()}
        return cls(spans, position_N.astype(np.int32), columns_SN, faults)

    @classmethod
    def joined(cls, records: Sequence[Record]) -> Record:
        """Join records of one batch in order of time. A request may have rows in several of them."""
        if len(records) == 1:
            return records[0]
        owners = [
            name
            for record in records
            for name, (low, high) in sorted(record.spans.items(), key=lambda item: item[1])
            for _ in range(low, high)
        ]
        faults: Counter[str] = Counter()
        for record in records:
            faults.update(record.faults)
        return cls.of(
            owners,
            np.concatenate([record.positions for record in records]).astype(np.int64),
            np.ones(len(owners), dtype=bool),
            [record.columns for record in records],
            dict(faults),
        )

    def only(self, request_ids: Collection[str]) -> Record:
        """Return the record with the rows of these requests alone. Faults concern all requests and stay."""
        kept = sorted(
            ((name, span) for name, span in self.spans.items() if name in request_ids), key=lambda item: item[1]
        )
        rows = np.concatenate([np.empty(0, np.int64), *(np.arange(low, high) for _, (low, high) in kept)])
        ends = np.cumsum([high - low for _, (low, high) in kept]).tolist()
        spans = {name: (end - (high - low), end) for (name, (low, high)), end in zip(kept, ends, strict=True)}
        return Record(spans, self.positions[rows], self.columns[:, rows], self.faults)

    def to_bytes(self) -> bytes:
        header = json.dumps({"spans": self.spans, "faults": self.faults}).encode()
        return safetensors.numpy.save(
            {
                "header": np.frombuffer(header, np.uint8),
                "position": self.positions,
                "columns": np.ascontiguousarray(self.columns),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        arrays = safetensors.numpy.load(data)
        header = json.loads(arrays["header"].tobytes())
        spans = {name: (low, high) for name, (low, high) in header["spans"].items()}
        return cls(spans, arrays["position"], arrays["columns"], header["faults"])

    def require_faultless(self) -> None:
        """Refuse a record with faults.

        Raises:
            RunError: It names every fault.
        """
        if self.faults:
            told = "; ".join(f"{name} ({count} times)" for name, count in sorted(self.faults.items()))
            raise RunError(f"the statistics of sampled tokens could not be recorded: {told}. Nothing was committed.")

    def statistics(self, request_id: str, token_ids: Sequence[int]) -> Statistics:
        """Return the recorded statistics of the tokens `token_ids` that a request returned.

        vLLM may run one step more before it knows that a request has ended. The rows of that step are ignored.

        Raises:
            RunError: A token has no row, the row is of another token, or a value is not finite.
        """
        low, high = self.spans.get(request_id, (0, 0))
        count = len(token_ids)
        rows = slice(low, min(low + count, high))
        if not np.array_equal(self.positions[rows], np.arange(count)):
            found = len(set(self.positions[low:high].tolist()) & set(range(count)))
            raise RunError(f"request {request_id}: statistics were recorded for {found} of its {count} tokens")
        columns_ST = self.columns[:, rows]
        if (wrong := np.flatnonzero(columns_ST[0] != np.asarray(token_ids))).size:
            at = int(wrong[0])
            raise RunError(
                f"request {request_id}: token {at} is {token_ids[at]}, but statistics were recorded for token "
                f"{int(columns_ST[0, at])}"
            )
        if not np.isfinite(columns_ST).all():
            at = int(np.flatnonzero(~np.isfinite(columns_ST).all(0))[0])
            raise RunError(f"request {request_id}: the model's distribution at token {at} is not finite")
        return _named(columns_ST[1:])


def _named(columns_ST: np.ndarray) -> Statistics:
    """Copy columns into `Statistics`, so that one sample does not keep the whole batch in memory."""
    named = dict(zip(NAMES, columns_ST, strict=True))
    return Statistics(
        **{name: column.astype(np.int64 if name == "rank" else np.float32) for name, column in named.items()}
    )
