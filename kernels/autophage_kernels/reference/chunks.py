"""Chunks of rows, the transform of logits, and the treatment of -inf and NaN, shared by all passes.

Shapes: B and L are leading dimensions of the logits. T = B * L is all rows, R the rows of a chunk, V the vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

CACHED_ELEMENTS = 1 << 17
"""Number of logits of a chunk, 512 KiB of float32.

The chunk and three buffers of its size fit in a core's second-level cache.
"""
SERIAL_ELEMENTS = (1 << 15) - 1
"""Maximum elements of a tensor that torch does not spread over threads."""
SPREAD_ELEMENTS = 1 << 22
SPREAD_CHUNKS = 8
SPINS = os.environ.get("GOMP_SPINCOUNT", "0") != "0"
PASSIVE = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive" and not SPINS
"""True if OpenMP's threads sleep as soon as they wait.

An operation then wakes them first, which takes longer than a chunk's work. Chunks are therefore too small to be
spread. Many logits are divided into few large chunks.
"""

FLOOR = {torch.float32: -150.0, torch.float64: -800.0}
"""Lowest exponent in nats. e^FLOOR is exactly 0. 0 * FLOOR is 0, whereas 0 * -inf would be NaN."""


def work_type(logits: torch.Tensor) -> torch.dtype:
    """Return the type in which statistics of these logits are computed: float64 for float64, or else float32."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def chunk_elements(total: int) -> int:
    """Return the number of logits that are computed at a time, given the `total` number of logits."""
    if not PASSIVE or torch.get_num_threads() == 1:
        return CACHED_ELEMENTS
    if total < SPREAD_ELEMENTS:
        return SERIAL_ELEMENTS
    return min(total // SPREAD_CHUNKS, SPREAD_ELEMENTS // 2)


def chunk_rows(rows: int, vocabulary: int, batch_invariant: bool) -> int:
    """Return the number of rows that are computed at a time, at least 1. Batch-invariant chunks have one row."""
    return 1 if batch_invariant else max(1, chunk_elements(rows * vocabulary) // max(1, vocabulary))


def row_chunks(logits_BLV: torch.Tensor, rows: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield chunks of at most `rows` rows of logits `[B, L, V]`: a slice of all B * L rows, and their logits `[R, V]`.

    The logits are views for any strides.
    """
    for chunk, (logits_RV,) in paired_chunks((logits_BLV,), rows):
        yield chunk, logits_RV


def paired_chunks(tensors_BLV: tuple[torch.Tensor, ...], rows: int) -> Iterator[tuple[slice, tuple[torch.Tensor, ...]]]:
    """Yield chunks of at most `rows` rows of several tensors `[B, L, V]`: a slice of all rows, and a view of each.

    The tensors have one shape. Their strides may differ.
    """
    outer, inner, _ = tensors_BLV[0].shape
    if outer == 1 or all(tensor.stride(0) == inner * tensor.stride(1) for tensor in tensors_BLV):
        slabs = [tuple(tensor.flatten(0, 1) for tensor in tensors_BLV)]
    else:
        slabs = list(zip(*tensors_BLV, strict=True))
    start = 0
    for slab in slabs:
        for chunks in zip(*(tensor.split(rows) for tensor in slab), strict=True):
            yield slice(start, start + len(chunks[0])), chunks
            start += len(chunks[0])


def softcapped(x: torch.Tensor, softcap: float) -> torch.Tensor:
    """Return `softcap * tanh(x / softcap)`, or x itself for a softcap of 0."""
    return torch.tanh(x / softcap).mul_(softcap) if softcap else x


def shift_of(peak: torch.Tensor, softcap: float) -> torch.Tensor:
    """Return the offset to subtract from the softcapped logits of a row whose largest logit is `peak`.

    Without a softcap it is 0 for an infinite peak, as inf - inf is NaN.
    """
    return softcapped(peak, softcap) if softcap else peak.nan_to_num(nan=torch.nan, posinf=0.0, neginf=0.0)


def inverse(temperature: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | float:
    """Return `1 / temperature` in `dtype`, `[T]` for one per row or `[1]`. None gives 1.0.

    It is NaN if the temperature is not above 0.
    """
    if temperature is None:
        return 1.0
    return torch.where(temperature > 0, 1.0 / temperature.to(dtype), torch.nan)


def of_rows(values: torch.Tensor | float, rows: slice) -> torch.Tensor | float:
    """Return the values `[T]` of all rows for the R rows of a chunk, as a column `[R, 1]`.

    A value for all rows stays `[1, 1]` or a number.
    """
    if isinstance(values, float):
        return values
    return (values[rows] if len(values) > 1 else values).unsqueeze(-1)
