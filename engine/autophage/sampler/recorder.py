"""Records statistics of every sampled token while a batch is sampled.

Each step's raw logits are copied into a buffer before the sampler may overwrite them. When the buffer is full, one call
computes the statistics of all its rows. Many tokens share the cost of the call, and memory stays bounded. The steps alone
decide which rows share a call, so a batch that is sampled again gives the same bits. During a step nothing waits for the
device, and nothing raises unless memory runs out. Other faults are counted by name, and `finish` returns the counts beside
the rows. Knows torch, but not vLLM.

Shapes: R rows of a step, N rows of a block, V vocabulary, S columns of `record.columns`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from autophage.host.devices import out_of_memory
from autophage.sampler.record import NAMES, Record
from autophage_kernels import token_stats

BUFFER_BYTES = 1 << 20
"""Size of the buffer.

A larger one saves few calls. It falls out of a core's cache: with 16 MiB a token costs twice the time. A larger step is
a block of its own, such as 256 sequences of 128k logits (128 MiB in float32).
"""
PINNED_VALUES = 1 << 18
"""Float32 values of host memory that are pinned at once (1 MiB). Pinning may wait for the device, so it must be rare."""
EXACT = 1 << 24
"""Integers below this are exact in float32, in which token ids and ranks are stored beside the statistics."""


class Rows(NamedTuple):
    """Request and output position of each of the R rows of a step's logits.

    Arrays are copies, because vLLM reuses its own in the next step.
    """

    request_ids: list[str]
    positions: np.ndarray
    """[R], index of the sampled token in its request's output, from 0."""
    valid: np.ndarray
    """[R], False for a row whose prompt is not read to its end. vLLM discards its sampled token."""


class Recorder:
    """Record token statistics of one batch of requests.

    Call `before` and `after` around each call of the sampler, then `finish` once. `rows` is the largest number of rows
    of a step.
    """

    def __init__(self, rows: int, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.faults: Counter[str] = Counter()
        self.tokens = 0
        """Tokens sampled so far, including those that vLLM discards."""
        self._rows, self._buffer_bytes = rows, buffer_bytes
        self._logits_NV = torch.empty(0, 0)
        self._token_N = torch.empty(0, dtype=torch.int64)
        self._used = 0
        self._copied: int | None = None
        self._pending: list[Rows] = []
        self._rows_done: list[Rows] = []
        self._blocks_SN: list[torch.Tensor] = []
        self._host = torch.empty(0)

    def before(self, logits_RV: torch.Tensor) -> None:
        """Copy the raw logits [rows, vocabulary] of a step. The sampler may scale and mask them in place.

        Raises:
            torch.OutOfMemoryError: Memory ran out. The rows of earlier steps are kept.
        """
        self._copied = None
        try:
            self._keep(logits_RV)
        except Exception as fault:  # of any other type: the observed step must go on
            self._tolerate(fault)

    def after(self, token_R1: torch.Tensor, rows: Callable[[], Rows]) -> None:
        """Record the sampled token ids of the step whose logits were copied last.

        `rows` returns the requests and positions of the step's rows.

        Raises:
            torch.OutOfMemoryError: Memory ran out. The rows of earlier steps are kept.
        """
        if self._copied is None:
            return
        try:
            self._note(token_R1, rows(), self._copied)
        except Exception as fault:  # as above
            self._tolerate(fault)

    def finish(self) -> Record:
        """Return the record of all steps so far. The recorder cannot be used again."""
        try:
            self._compute()
            if self._logits_NV.is_cuda:
                torch.cuda.synchronize(self._logits_NV.device)
        except Exception as fault:  # as above: the record's faults tell the caller
            self._count(fault)
        return Record.of(
            [name for rows in self._rows_done for name in rows.request_ids],
            _joined([rows.positions for rows in self._rows_done], np.int64),
            _joined([rows.valid for rows in self._rows_done], np.bool_),
            [block.numpy() for block in self._blocks_SN],
            dict(self.faults),
        )

    def _keep(self, logits_RV: torch.Tensor) -> None:
        rows = len(logits_RV)
        if self._used + rows > len(self._logits_NV) or self._other_kind(logits_RV):
            self._compute()
            if rows > len(self._logits_NV) or self._other_kind(logits_RV):
                self._allocate(logits_RV)
        self._logits_NV[self._used : self._used + rows].copy_(logits_RV)
        self._copied = rows

    def _other_kind(self, logits_RV: torch.Tensor) -> bool:
        held = self._logits_NV
        return held.shape[1] != logits_RV.shape[1] or held.dtype != logits_RV.dtype or held.device != logits_RV.device

    def _allocate(self, logits_RV: torch.Tensor) -> None:
        rows, vocabulary = logits_RV.shape
        if vocabulary >= EXACT:
            raise ValueError(f"a vocabulary of {vocabulary} does not fit in float32")
        capacity = max(rows, self._rows, self._buffer_bytes // (vocabulary * logits_RV.element_size()))
        # Free the old buffer before the new one is made.
        self._logits_NV = torch.empty(0, 0)
        try:
            self._logits_NV = self._buffer(capacity, logits_RV)
        except Exception as fault:
            if not out_of_memory(fault):
                raise
            capacity = self._rows = rows  # the engine halves its steps where this is too much
            self._logits_NV = self._buffer(capacity, logits_RV)
        self._token_N = torch.empty(capacity, dtype=torch.int64, device=logits_RV.device)

    @staticmethod
    def _buffer(rows: int, like_RV: torch.Tensor) -> torch.Tensor:
        return torch.empty(rows, like_RV.shape[1], dtype=like_RV.dtype, device=like_RV.device)

    def _note(self, token_R1: torch.Tensor, rows: Rows, copied: int) -> None:
        counts = {copied, token_R1.numel(), len(rows.request_ids), len(rows.positions), len(rows.valid)}
        if len(counts) > 1:
            raise ValueError(
                f"{copied} rows of logits, {token_R1.numel()} tokens, {len(rows.request_ids)} requests in one step"
            )
        self._token_N[self._used : self._used + copied].copy_(token_R1.view(-1))
        self._used += copied
        self.tokens += copied
        self._pending.append(rows)

    @torch.inference_mode()
    def _compute(self) -> None:
        """Compute the statistics of the buffered rows.

        Rows of a block that fails are missing from the record. If memory ran out, they stay for the next call.
        """
        used, pending = self._used, self._pending
        if not used:
            return
        self._used, self._pending = 0, []
        try:
            blocks_SN = self._computed(self._logits_NV[:used], self._token_N[:used])
        except Exception as fault:
            if out_of_memory(fault):
                self._used, self._pending = used, pending
            raise
        self._blocks_SN += blocks_SN
        self._rows_done += pending

    def _computed(self, logits_NV: torch.Tensor, token_N: torch.Tensor) -> list[torch.Tensor]:
        """Return the statistics of N rows in host memory: one block, or several where memory suffices for parts alone."""
        try:
            block_SN = torch.stack([token_N.float(), *_statistics(logits_NV, token_N)])
            return [self._to_host(block_SN) if block_SN.is_cuda else block_SN]
        except Exception as fault:
            if len(token_N) == 1 or not out_of_memory(fault):
                raise
        half = len(token_N) // 2
        return self._computed(logits_NV[:half], token_N[:half]) + self._computed(logits_NV[half:], token_N[half:])

    def _to_host(self, block_SN: torch.Tensor) -> torch.Tensor:
        """Start to copy a block to pinned host memory, and return that memory.

        The device fills it while the next steps run. `finish` waits for it once.
        """
        size = block_SN.numel()
        if len(self._host) < size:
            self._host = torch.empty(max(size, PINNED_VALUES), pin_memory=True)
        view, self._host = self._host[:size].view(block_SN.shape), self._host[size:]
        return view.copy_(block_SN, non_blocking=True)

    def _tolerate(self, fault: Exception) -> None:
        """Count a fault of a step, unless memory ran out. The engine then withdraws the step and halves its requests."""
        if out_of_memory(fault):
            raise fault
        self._count(fault)

    def _count(self, fault: Exception) -> None:
        self.faults[f"{type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else 'no message'}"] += 1


def _statistics(logits_NV: torch.Tensor, token_N: torch.Tensor) -> list[torch.Tensor]:
    """Return the statistics `NAMES` of each token id under its row of logits. Each is a float32 tensor [N]."""
    statistics = token_stats(logits_NV, token_N, statistics=NAMES)
    return [getattr(statistics, name).float() for name in NAMES]


def _joined(arrays: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(arrays).astype(kind) if arrays else np.empty(0, kind)
