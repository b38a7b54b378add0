"""Kernel and launch of the second pass over the logits: mass of the tokens below a probability."""

import torch
import triton
import triton.language as tl

from autophage_kernels.triton_kernels.algebra import INFINITY, LN2, base2_scale, floored, shift_of, softcapped
from autophage_kernels.triton_kernels.launch import Launch, divide_up
from autophage_kernels.triton_kernels.launch_stats import (
    ALIGNED,
    BLOCK,
    STAGES,
    WARPS,
    alignment,
    split_count,
    temperature_stride,
)


@triton.jit(
    do_not_specialize=["n_rows", "n_inner", "stride_outer", "stride_inner", "blocks_per_split", "temperature_stride"]
)
def mass_below_kernel(
    logits_ptr,  # [B, L, V], any strides
    temperature_ptr,
    moments_ptr,  # [MOMENTS, T] float32
    out_ptr,  # OUT [S, T] float32
    n_rows, n_inner, stride_outer, stride_inner, stride_column, n_columns, blocks_per_split, temperature_stride, softcap,
    log_bound, TEMPERATURE: tl.constexpr, SOFTCAP: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    split = tl.program_id(1)
    n_rows = tl.cast(n_rows, tl.int64)
    offset = (row // n_inner).to(tl.int64) * stride_outer + (row % n_inner).to(tl.int64) * stride_inner
    if ALIGNED:
        offset = tl.multiple_of(offset, 16)
    low = split * blocks_per_split * BLOCK
    high = tl.minimum(low + blocks_per_split * BLOCK, n_columns)
    scale = base2_scale(temperature_ptr, row, temperature_stride, TEMPERATURE)
    shift = shift_of(tl.load(moments_ptr + row), softcap, SOFTCAP)
    log_sum = tl.load(moments_ptr + n_rows + row)
    lane = tl.arange(0, BLOCK)
    mass = tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(low, high, BLOCK, num_stages=STAGES):
        columns = start + lane
        valid = columns < high
        place = logits_ptr + offset + columns.to(tl.int64) * stride_column
        x = tl.load(place, mask=valid, other=-INFINITY).to(tl.float32)
        log_p = floored((softcapped(x, softcap, SOFTCAP) - shift) * scale) * LN2 - log_sum
        # Not (p >= bound): where there is no distribution, p is NaN and so is the mass.
        mass += tl.where((log_p >= log_bound) | (columns >= high), 0.0, tl.exp(log_p))
    tl.store(out_ptr + split * n_rows + row, tl.sum(mass, axis=0))


def mass_below(
    logits_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    moments_MT: torch.Tensor,
    log_bound: float,
    batch_invariant: bool,
) -> torch.Tensor:
    """As `reference.mass_below`. A short row is still in the cache from the first pass."""
    (_, inner, vocabulary), rows = logits_BLV.shape, moments_MT.shape[1]
    parts = split_count(rows, vocabulary, logits_BLV.device, batch_invariant)
    out_ST = moments_MT.new_empty(parts, rows)
    if rows:
        Launch(
            mass_below_kernel,
            (rows, parts),
            {
                "logits_ptr": logits_BLV,
                "temperature_ptr": temperature,
                "moments_ptr": moments_MT,
                "out_ptr": out_ST,
                "n_rows": rows,
                "n_inner": inner,
                "stride_outer": logits_BLV.stride(0),
                "stride_inner": logits_BLV.stride(1),
                "stride_column": logits_BLV.stride(2),
                "n_columns": vocabulary,
                "blocks_per_split": divide_up(divide_up(vocabulary, BLOCK), parts),
                "temperature_stride": temperature_stride(temperature),
                "softcap": softcap,
                "log_bound": log_bound,
            },
            {
                "TEMPERATURE": temperature is not None,
                "SOFTCAP": softcap > 0,
                "ALIGNED": alignment(logits_BLV, batch_invariant=True) == ALIGNED,
                "BLOCK": BLOCK,
                "STAGES": STAGES,
            },
            WARPS,
        ).run()
    return out_ST.sum(0)
