"""Kernel: gradient of log-prob, lse, entropy and varentropy with respect to the logits.

`reference/gradient.py` has the formula. The kernel reads and writes `[T, V]` once. One program does one block of one row. The
gradient is a new tensor, as the logits may be needed again.
"""

import triton
import triton.language as tl

from autophage_kernels.triton_kernels.algebra import LN2, base2_scale, floored, shift_of, softcapped, tanh


@triton.jit(
    do_not_specialize=["n_rows", "n_inner", "stride_outer", "stride_inner", "first_column", "temperature_stride"]
)
def stats_gradient_kernel(
    logits_ptr,  # [B, L, V], any strides
    target_ptr,  # [T] int64, where TARGET
    temperature_ptr,  # [T] or [1] float32, where TEMPERATURE
    moments_ptr,  # [MOMENTS, T] float32
    coefficients_ptr,  # [COEFFICIENTS, T] float32
    gradient_ptr,  # OUT [T, V], contiguous
    n_rows, n_inner, stride_outer, stride_inner, stride_column, n_columns, first_column, temperature_stride, softcap,
    TARGET: tl.constexpr, TEMPERATURE: tl.constexpr, SOFTCAP: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    n_rows = tl.cast(n_rows, tl.int64)
    offset = (row // n_inner).to(tl.int64) * stride_outer + (row % n_inner).to(tl.int64) * stride_inner
    out_offset = row.to(tl.int64) * n_columns
    if ALIGNED:
        offset = tl.multiple_of(offset, 16)
    peak = tl.load(moments_ptr + row)
    log_sum = tl.load(moments_ptr + n_rows + row)
    entropy = tl.load(moments_ptr + 2 * n_rows + row)
    varentropy = tl.load(moments_ptr + 3 * n_rows + row)
    g_logprob = tl.load(coefficients_ptr + row)
    g_lse = tl.load(coefficients_ptr + n_rows + row)
    g_entropy = tl.load(coefficients_ptr + 2 * n_rows + row)
    g_varentropy = tl.load(coefficients_ptr + 3 * n_rows + row)
    k0 = g_lse - g_logprob - g_varentropy * varentropy
    k1 = 2.0 * g_varentropy - g_entropy
    scale = base2_scale(temperature_ptr, row, temperature_stride, TEMPERATURE)
    shift = shift_of(peak, softcap, SOFTCAP)

    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    valid = columns < n_columns
    x = tl.load(logits_ptr + offset + columns.to(tl.int64) * stride_column, mask=valid, other=0.0).to(tl.float32)
    capped = softcapped(x, softcap, SOFTCAP)
    log_p = floored((capped - shift) * scale) * LN2 - log_sum
    p = tl.exp(log_p)
    a = log_p + entropy
    dz = p * (k0 + a * (k1 + a * g_varentropy))
    if TARGET:
        target = tl.load(target_ptr + row) - first_column
        dz += tl.where(columns == target, g_logprob, 0.0)
    if SOFTCAP:
        slope = tanh(x / softcap)
        dz *= 1.0 - slope * slope
    unused = (g_logprob == 0.0) & (g_lse == 0.0) & (g_entropy == 0.0) & (g_varentropy == 0.0)
    dx = tl.where(unused, 0.0, dz * (scale * LN2))  # such a row may hold NaN
    tl.store(gradient_ptr + out_offset + columns, dx.to(gradient_ptr.dtype.element_ty), mask=valid)
