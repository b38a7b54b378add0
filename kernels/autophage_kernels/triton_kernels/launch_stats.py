"""Operations of `reference` on statistics as launches of the kernels.

The module knows strides, alignment and the filling of a GPU. It knows no formula.
"""

from __future__ import annotations

from typing import Any

import torch

from autophage_kernels.partial import FIELDS, MOMENTS
from autophage_kernels.statistics import FLOATS, INTEGERS, OF_TARGET, Statistic, slots
from autophage_kernels.triton_kernels.gradient import stats_gradient_kernel
from autophage_kernels.triton_kernels.launch import WARPS_PER_PROCESSOR, Launch, divide_up, power_of_two, processors
from autophage_kernels.triton_kernels.merging import merge_stats_kernel
from autophage_kernels.triton_kernels.moments import partial_stats_kernel

BLOCK = 2048
"""Number of columns of a block, 16 a lane with `WARPS` warps.

At 4096 the accumulators leave no room for two blocks in flight.
"""
WARPS = 4
STAGES = 4
"""Number of blocks in flight: one is worked on while three are loaded.

This covers the latency of memory with two programs a processor, which fit if every statistic is asked for.
"""
WAVES = 2
"""Number of times that the programs of a short batch fill the GPU. The last ones then leave little of it idle."""
SHORTEST_SPLIT = 2
"""Minimum blocks of a split. Below it a program's start costs more than its work."""
INVARIANT_SPLIT = 8
"""Number of blocks of a split in batch-invariant mode. The number of splits depends on the vocabulary alone."""
MERGE_TILE = 1024
"""Number of partial results that one program of the merge holds."""
UNKNOWN, ALIGNED, PEEL = 0, 1, 2


def partial_stats(
    logits_BLV: torch.Tensor,
    target_T: torch.Tensor | None,
    target_logit_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    first_column: int,
    statistics: int,
    batch_invariant: bool,
    out_PST: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the partial statistics of T rows in S parts, `[FIELDS, S, T]` float32. A part is a range of columns.

    The meaning is that of `reference.partial_stats`. A given `out_PST` is filled and has one part.
    """
    if out_PST is None:
        rows, vocabulary = logits_BLV.shape[:2].numel(), logits_BLV.shape[2]
        parts = split_count(rows, vocabulary, logits_BLV.device, batch_invariant)
        out_PST = logits_BLV.new_empty(FIELDS, parts, rows, dtype=torch.float32)
    if out_PST.shape[2]:
        partial_launch(
            logits_BLV,
            target_T,
            target_logit_T,
            temperature,
            softcap,
            first_column,
            statistics,
            batch_invariant,
            out_PST,
        ).run()
    return out_PST


def split_count(rows: int, vocabulary: int, device: torch.device, batch_invariant: bool = False) -> int:
    """Return the number of column ranges into which each of `rows` rows is split, at least 1.

    The ranges of all rows together fill the GPU. In batch-invariant mode the number depends on the vocabulary alone.
    """
    blocks = divide_up(vocabulary, BLOCK)
    if batch_invariant:
        return divide_up(blocks, INVARIANT_SPLIT)
    programs = WAVES * processors(device) * WARPS_PER_PROCESSOR // WARPS
    return max(1, min(programs // max(rows, 1), blocks // SHORTEST_SPLIT))


def partial_launch(
    logits_BLV: torch.Tensor,
    target_T: torch.Tensor | None,
    target_logit_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    first_column: int,
    statistics: int,
    batch_invariant: bool,
    out_PST: torch.Tensor,
) -> Launch:
    _, inner, vocabulary = logits_BLV.shape
    parts, rows = out_PST.shape[1:]
    return Launch(
        partial_stats_kernel,
        (rows, parts),
        {
            "logits_ptr": logits_BLV,
            "target_ptr": target_T,
            "level_ptr": target_logit_T,
            "temperature_ptr": temperature,
            "partial_ptr": out_PST,
            "n_inner": inner,
            "stride_outer": logits_BLV.stride(0),
            "stride_inner": logits_BLV.stride(1),
            "stride_column": logits_BLV.stride(2),
            "n_columns": vocabulary,
            "blocks_per_split": divide_up(divide_up(vocabulary, BLOCK), parts),
            "first_column": first_column,
            "temperature_stride": temperature_stride(temperature),
            "partial_field": out_PST.stride(0),
            "partial_split": out_PST.stride(1),
            "softcap": softcap,
        },
        {
            "TARGET": target_T is not None and bool(statistics & OF_TARGET),
            "LEVEL": target_logit_T is not None,
            "TEMPERATURE": temperature is not None,
            "SOFTCAP": softcap > 0,
            "FIRST": bool(statistics & (Statistic.ENTROPY | Statistic.VARENTROPY)),
            "SECOND": bool(statistics & Statistic.VARENTROPY),
            "SQUARE": bool(statistics & Statistic.RENYI2),
            "ABOVE": bool(statistics & (Statistic.RANK | Statistic.TIES | Statistic.MASS_ABOVE)),
            "EQUAL": bool(statistics & Statistic.TIES),
            "MASS": bool(statistics & Statistic.MASS_ABOVE),
            "ARGMAX": bool(statistics & Statistic.ARGMAX),
            "CONTIGUOUS": logits_BLV.stride(2) == 1,
            "ALIGNMENT": alignment(logits_BLV, batch_invariant),
            "BLOCK": BLOCK,
            "STAGES": STAGES,
        },
        WARPS,
    )


def temperature_stride(temperature: torch.Tensor | None) -> int:
    """Return the number of elements from one row's temperature to the next.

    It is 0 if all rows share a temperature or have none.
    """
    return 0 if temperature is None or len(temperature) == 1 else temperature.stride(0)


def alignment(logits_BLV: torch.Tensor, batch_invariant: bool) -> int:
    """Return the alignment of the rows' first logits: `UNKNOWN`, `ALIGNED` or `PEEL`.

    A batch-invariant pass may not peel, as peeling moves columns to other lanes row by row. It treats a single row as
    one of several.
    """
    outer, inner, _ = logits_BLV.shape
    if logits_BLV.stride(2) != 1 or logits_BLV.data_ptr() % 16:
        return UNKNOWN
    several_outer, several_inner = outer > 1 or batch_invariant, inner > 1 or batch_invariant
    if not (several_inner and logits_BLV.stride(1) % 16) and not (several_outer and logits_BLV.stride(0) % 16):
        return ALIGNED
    return UNKNOWN if batch_invariant else PEEL


def merge_stats(
    partial_PST: torch.Tensor,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    ignore_index: int,
    vocabulary: int,
    statistics: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Merge the parts of T rows. Return F float statistics `[F, T]`, I int64 ones `[I, T]`, and moments `[MOMENTS, T]`.

    The meaning is that of `reference.merge_stats`.
    """
    rows = partial_PST.shape[2]
    floats, integers = slots(statistics, FLOATS), slots(statistics, INTEGERS)
    floats_FT = partial_PST.new_empty(len(floats), rows)
    integers_IT = partial_PST.new_empty(len(integers), rows, dtype=torch.int64)
    moments_MT = partial_PST.new_empty(MOMENTS, rows)
    if rows:
        merge_launch(
            partial_PST, target_T, temperature, softcap, ignore_index, vocabulary, floats_FT, integers_IT, moments_MT,
            {statistic.name: row for statistic, row in (*floats.items(), *integers.items())},
        ).run()  # fmt: skip
    return floats_FT, integers_IT, moments_MT


def merge_launch(
    partial_PST: torch.Tensor,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    ignore_index: int,
    vocabulary: int,
    floats_FT: torch.Tensor,
    integers_IT: torch.Tensor,
    moments_MT: torch.Tensor,
    place: dict[Any, int],
) -> Launch:
    parts, rows = partial_PST.shape[1:]
    padded = power_of_two(parts)
    tile = max(1, MERGE_TILE // padded)
    return Launch(
        merge_stats_kernel,
        (divide_up(rows, tile),),
        {
            "partial_ptr": partial_PST,
            "target_ptr": target_T,
            "temperature_ptr": temperature,
            "floats_ptr": floats_FT,
            "integers_ptr": integers_IT,
            "moments_ptr": moments_MT,
            "n_rows": rows,
            "n_parts": parts,
            "partial_field": partial_PST.stride(0),
            "partial_split": partial_PST.stride(1),
            "temperature_stride": temperature_stride(temperature),
            "ignore_index": ignore_index,
            "vocabulary": vocabulary,
            "softcap": softcap,
        },
        {
            "TARGET": target_T is not None,
            "TEMPERATURE": temperature is not None,
            "SOFTCAP": softcap > 0,
            **{str(statistic.name): place.get(statistic.name, -1) for statistic in (*FLOATS, *INTEGERS)},
            "PARTS": padded,
            "ROWS": tile,
        },
        WARPS,
    )


def stats_gradient(
    logits_BLV: torch.Tensor,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    first_column: int,
    moments_MT: torch.Tensor,
    coefficients_CT: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return the gradient of a loss to the logits, `[B, L, V]` of `dtype`, contiguous.

    The meaning is that of `reference.stats_gradient`.
    """
    gradient_BLV = torch.empty(logits_BLV.shape, dtype=dtype, device=logits_BLV.device)
    if gradient_BLV.numel():
        gradient_launch(
            logits_BLV, target_T, temperature, softcap, first_column, moments_MT, coefficients_CT, gradient_BLV
        ).run()
    return gradient_BLV


def gradient_launch(
    logits_BLV: torch.Tensor,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    first_column: int,
    moments_MT: torch.Tensor,
    coefficients_CT: torch.Tensor,
    gradient_BLV: torch.Tensor,
) -> Launch:
    outer, inner, vocabulary = logits_BLV.shape
    block = min(BLOCK, power_of_two(vocabulary))
    return Launch(
        stats_gradient_kernel,
        (outer * inner, divide_up(vocabulary, block)),
        {
            "logits_ptr": logits_BLV,
            "target_ptr": target_T,
            "temperature_ptr": temperature,
            "moments_ptr": moments_MT,
            "coefficients_ptr": coefficients_CT,
            "gradient_ptr": gradient_BLV,
            "n_rows": outer * inner,
            "n_inner": inner,
            "stride_outer": logits_BLV.stride(0),
            "stride_inner": logits_BLV.stride(1),
            "stride_column": logits_BLV.stride(2),
            "n_columns": vocabulary,
            "first_column": first_column,
            "temperature_stride": temperature_stride(temperature),
            "softcap": softcap,
        },
        {
            "TARGET": target_T is not None,
            "TEMPERATURE": temperature is not None,
            "SOFTCAP": softcap > 0,
            "ALIGNED": alignment(logits_BLV, batch_invariant=True) == ALIGNED,
            "BLOCK": block,
        },
        WARPS,
    )
