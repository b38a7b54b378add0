"""Chunks of rows, the transform of logits, and what is -inf or NaN: shared by the passes of the reference.

Shapes: B, L leading dimensions of the logits, T = B * L rows, R rows of one chunk, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

CACHED_ELEMENTS = 1 << 17
"""Logits of a chunk: 512 KiB of float32, so that it and three buffers of its size stay in a core's second-level cache."""
SERIAL_ELEMENTS = (1 << 15) - 1
"""Most that torch works on without spreading an operation over threads."""
SPREAD_ELEMENTS = 1 << 22
SPREAD_CHUNKS = 8
SPINS = os.environ.get("GOMP_SPINCOUNT", "0") != "0"
PASSIVE = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive" and not SPINS
"""Where OpenMP's threads sleep as soon as they wait, an operation that is spread over them first has to wake them, which takes
longer than the work on a chunk: then chunks are too small to be spread or, of many logits, so large that few operations are."""

FLOOR = {torch.float32: -150.0, torch.float64: -800.0}
"""Lowest exponent (nats): e^FLOOR is exactly 0, and 0 * FLOOR is 0 where 0 * -inf would be NaN."""


def work_type(logits: torch.Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def chunk_elements(total: int) -> int:
    """Logits of a chunk, of so many in all."""
    if not PASSIVE or torch.get_num_threads() == 1:
        return CACHED_ELEMENTS
    if total < SPREAD_ELEMENTS:
        return SERIAL_ELEMENTS
    return min(total // SPREAD_CHUNKS, SPREAD_ELEMENTS // 2)


def chunk_rows(rows: int, vocabulary: int, batch_invariant: bool) -> int:
    """Rows of a chunk. One by one where a row's result may not depend on how many others there are."""
    return 1 if batch_invariant else max(1, chunk_elements(rows * vocabulary) // max(1, vocabulary))


def row_chunks(logits_BLV: torch.Tensor, rows: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """(rows of T, their logits [R, V]) in order; views, whatever the strides."""
    for chunk, (logits_RV,) in paired_chunks((logits_BLV,), rows):
        yield chunk, logits_RV


def paired_chunks(tensors_BLV: tuple[torch.Tensor, ...], rows: int) -> Iterator[tuple[slice, tuple[torch.Tensor, ...]]]:
    """The same rows of several tensors of one shape, whose strides may differ."""
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
    """softcap * tanh(x / softcap); x itself where there is none."""
    return torch.tanh(x / softcap).mul_(softcap) if softcap else x


def shift_of(peak: torch.Tensor, softcap: float) -> torch.Tensor:
    """What is subtracted from a row whose largest logit is `peak`; 0 for infinite ones, for which (inf - inf) would be NaN."""
    return softcapped(peak, softcap) if softcap else peak.nan_to_num(nan=torch.nan, posinf=0.0, neginf=0.0)


def inverse(temperature: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | float:
    """1 / temperature, [T] or [1]; NaN where it is not above 0, as no distribution belongs to it."""
    if temperature is None:
        return 1.0
    return torch.where(temperature > 0, 1.0 / temperature.to(dtype), torch.nan)


def of_rows(values: torch.Tensor | float, rows: slice) -> torch.Tensor | float:
    """The values of a chunk as a column [R, 1] (or [1, 1], or the number itself)."""
    if isinstance(values, float):
        return values
    return (values[rows] if len(values) > 1 else values).unsqueeze(-1)
