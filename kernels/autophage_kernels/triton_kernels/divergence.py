"""Kernels of divergences: first pass, merge, second pass for the mixture, gradient.

`divergences.py` has the algebra. Rows, splits, lanes and units are as in `moments.py`. Log 0 is LOWEST rather than a floor. A
column without mass in one distribution may have mass in the other.
"""

import triton
import triton.language as tl

from autophage_kernels.triton_kernels.algebra import (
    FLOOR,
    INFINITY,
    LN2,
    NAN,
    base2_scale,
    shift_of,
    softcapped,
    tanh,
)
from autophage_kernels.triton_kernels.merging import part

LOWEST = tl.constexpr(-1e30)
"""Finite stand-in for log 0. 0 * LOWEST is 0, and LOWEST - LOWEST is no NaN."""


@triton.jit
def exponent(x, shift, scale, softcap, SOFTCAP: tl.constexpr):
    u = (softcapped(x, softcap, SOFTCAP) - shift) * scale
    return tl.maximum(u, LOWEST, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def shift_change(peak, shift, new_shift, scale, SOFTCAP: tl.constexpr):
    """Return the exponent in base 2 that re-bases a part to a higher peak, as `rebase` but without its floor."""
    d = (shift - new_shift) * scale
    if not SOFTCAP:
        d = tl.where(peak == -INFINITY, 0.0, d)
    return tl.minimum(tl.maximum(d, LOWEST), 0.0)


@triton.jit
def factor(d):
    return tl.exp2(tl.maximum(d, FLOOR))


@triton.jit(
    do_not_specialize=[
        "n_inner", "x_outer", "x_inner", "y_outer", "y_inner", "blocks_per_split", "temperature_stride", "partial_field",
        "partial_split",
    ]
)  # fmt: skip
def partial_divergence_kernel(
    x_ptr, y_ptr,  # [B, L, V], any strides
    temperature_ptr,  # [T] or [1] float32, where TEMPERATURE
    partial_ptr,  # OUT [DIVERGENCE_FIELDS, S, T] float32
    n_inner, x_outer, x_inner, x_column, y_outer, y_inner, y_column, n_columns, blocks_per_split, temperature_stride,
    partial_field, partial_split, softcap,
    TEMPERATURE: tl.constexpr, SOFTCAP: tl.constexpr, GAP: tl.constexpr, REFERENCE_GAP: tl.constexpr, FIRST: tl.constexpr,
    REFERENCE_FIRST: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    split = tl.program_id(1)
    outer = (row // n_inner).to(tl.int64)
    inner = (row % n_inner).to(tl.int64)
    x_offset = outer * x_outer + inner * x_inner
    y_offset = outer * y_outer + inner * y_inner
    if ALIGNED:
        x_offset = tl.multiple_of(x_offset, 16)
        y_offset = tl.multiple_of(y_offset, 16)
    low = split * blocks_per_split * BLOCK
    high = tl.minimum(low + blocks_per_split * BLOCK, n_columns)
    scale = base2_scale(temperature_ptr, row, temperature_stride, TEMPERATURE)
    lane = tl.arange(0, BLOCK)

    x_peak = tl.full((), -INFINITY, tl.float32)
    y_peak = tl.full((), -INFINITY, tl.float32)
    x_shift = shift_of(x_peak, softcap, SOFTCAP)
    y_shift = shift_of(y_peak, softcap, SOFTCAP)
    s = tl.zeros((BLOCK,), tl.float32)
    t = tl.zeros((BLOCK,), tl.float32)
    g = tl.zeros((BLOCK,), tl.float32)
    r = tl.zeros((BLOCK,), tl.float32)
    v = tl.zeros((BLOCK,), tl.float32)
    h = tl.zeros((BLOCK,), tl.float32)
    forbidden = tl.zeros((BLOCK,), tl.int32)
    for start in tl.range(low, high, BLOCK, num_stages=STAGES):
        columns = start + lane
        valid = columns < high
        x = tl.load(x_ptr + x_offset + columns.to(tl.int64) * x_column, mask=valid, other=-INFINITY).to(tl.float32)
        y = tl.load(y_ptr + y_offset + columns.to(tl.int64) * y_column, mask=valid, other=-INFINITY).to(tl.float32)
        x_top = tl.max(x, axis=0)
        y_top = tl.max(y, axis=0)
        if (x_top > x_peak) | (y_top > y_peak):
            x_new = tl.maximum(x_top, x_peak)
            y_new = tl.maximum(y_top, y_peak)
            x_new_shift = shift_of(x_new, softcap, SOFTCAP)
            y_new_shift = shift_of(y_new, softcap, SOFTCAP)
            dx = shift_change(x_peak, x_shift, x_new_shift, scale, SOFTCAP)
            dy = shift_change(y_peak, y_shift, y_new_shift, scale, SOFTCAP)
            a = factor(dx)
            b = factor(dy)
            if GAP:
                g = (g + (dx - dy) * s) * a
            if REFERENCE_GAP:
                h = (h + (dx - dy) * r) * b
            if FIRST:
                t = (t + dx * s) * a
            if REFERENCE_FIRST:
                v = (v + dy * r) * b
            s = s * a
            r = r * b
            x_peak = x_new
            y_peak = y_new
            x_shift = x_new_shift
            y_shift = y_new_shift
        u = exponent(x, x_shift, scale, softcap, SOFTCAP)
        w = exponent(y, y_shift, scale, softcap, SOFTCAP)
        p = tl.exp2(u)
        q = tl.exp2(w)
        if SOFTCAP:
            p = tl.where(valid, p, 0.0)
            q = tl.where(valid, q, 0.0)
        s += p
        r += q
        gap = u - w
        if GAP:
            g += p * gap
        if REFERENCE_GAP:
            h += q * gap
        if FIRST:
            t += p * u
        if REFERENCE_FIRST:
            v += q * w
        if not SOFTCAP:
            no_p = x == -INFINITY
            no_q = y == -INFINITY
            forbidden = forbidden | tl.where(no_q & (x > -INFINITY), 1, tl.where(no_p & (y > -INFINITY), 2, 0))

    out = partial_ptr + split.to(tl.int64) * partial_split + row
    partial_field = tl.cast(partial_field, tl.int64)
    tl.store(out, x_peak)
    tl.store(out + partial_field, tl.sum(s, axis=0))
    if FIRST:
        tl.store(out + 2 * partial_field, tl.sum(t, axis=0) * LN2)
    if GAP:
        tl.store(out + 3 * partial_field, tl.sum(g, axis=0) * LN2)
    tl.store(out + 4 * partial_field, y_peak)
    tl.store(out + 5 * partial_field, tl.sum(r, axis=0))
    if REFERENCE_FIRST:
        tl.store(out + 6 * partial_field, tl.sum(v, axis=0) * LN2)
    if REFERENCE_GAP:
        tl.store(out + 7 * partial_field, tl.sum(h, axis=0) * LN2)
    without_q = tl.max(forbidden & 1, axis=0)
    without_p = tl.max(forbidden & 2, axis=0)
    tl.store(out + 8 * partial_field, (without_q | without_p).to(tl.float32))


@triton.jit(do_not_specialize=["n_rows", "n_parts", "partial_field", "partial_split", "temperature_stride"])
def merge_divergence_kernel(
    partial_ptr,  # [DIVERGENCE_FIELDS, S, T] float32
    temperature_ptr,
    values_ptr,  # OUT [D, T] float32
    moments_ptr,  # OUT [DIVERGENCE_MOMENTS, T] float32
    n_rows, n_parts, partial_field, partial_split, temperature_stride, softcap,
    TEMPERATURE: tl.constexpr, SOFTCAP: tl.constexpr,
    # Each divergence's row in its output, or -1 where it is not asked for.
    KL: tl.constexpr, REVERSE_KL: tl.constexpr, CROSS_ENTROPY: tl.constexpr, ENTROPY: tl.constexpr,
    REFERENCE_ENTROPY: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    kept = rows < n_rows
    parts = tl.arange(0, PARTS).to(tl.int64)
    n_rows = tl.cast(n_rows, tl.int64)
    partial_field = tl.cast(partial_field, tl.int64)
    valid = (parts[:, None] < n_parts) & kept[None, :]
    scale = base2_scale(temperature_ptr, tl.where(kept, rows, 0), temperature_stride, TEMPERATURE)
    spread = scale
    if TEMPERATURE:
        spread = scale[None, :]

    x_peaks = part(partial_ptr, 0, partial_field, parts, rows, partial_split, valid, -INFINITY)
    y_peaks = part(partial_ptr, 4, partial_field, parts, rows, partial_split, valid, -INFINITY)
    x_peak = tl.max(x_peaks, axis=0)
    y_peak = tl.max(y_peaks, axis=0)
    dx = shift_change(
        x_peaks, shift_of(x_peaks, softcap, SOFTCAP), shift_of(x_peak, softcap, SOFTCAP)[None, :], spread, SOFTCAP
    )
    dy = shift_change(
        y_peaks, shift_of(y_peaks, softcap, SOFTCAP), shift_of(y_peak, softcap, SOFTCAP)[None, :], spread, SOFTCAP
    )
    a = factor(dx)
    b = factor(dy)
    dx *= LN2
    dy *= LN2
    s_parts = part(partial_ptr, 1, partial_field, parts, rows, partial_split, valid, 0.0)
    r_parts = part(partial_ptr, 5, partial_field, parts, rows, partial_split, valid, 0.0)
    s = tl.sum(a * s_parts, axis=0)
    r = tl.sum(b * r_parts, axis=0)
    defined = (s > 0.0) & (s < INFINITY) & (r > 0.0) & (r < INFINITY)
    log_s = tl.where(defined, tl.log2(s) * LN2, NAN)
    log_r = tl.where(defined, tl.log2(r) * LN2, NAN)
    flags = part(partial_ptr, 8, partial_field, parts, rows, partial_split, valid, 0.0).to(tl.int32)
    kl = tl.zeros_like(s)
    entropy = tl.zeros_like(s)
    if ENTROPY >= 0 or CROSS_ENTROPY >= 0:
        t = part(partial_ptr, 2, partial_field, parts, rows, partial_split, valid, 0.0)
        entropy = log_s - tl.sum(a * (t + dx * s_parts), axis=0) / s
        entropy = tl.where(defined, tl.maximum(entropy, 0.0), NAN)
    if KL >= 0 or CROSS_ENTROPY >= 0:
        g = part(partial_ptr, 3, partial_field, parts, rows, partial_split, valid, 0.0)
        kl = tl.sum(a * (g + (dx - dy) * s_parts), axis=0) / s - log_s + log_r
        kl = tl.where(tl.max(flags & 1, axis=0) > 0, INFINITY, tl.maximum(kl, 0.0))
        kl = tl.where(defined, kl, NAN)
    if REVERSE_KL >= 0:
        h = part(partial_ptr, 7, partial_field, parts, rows, partial_split, valid, 0.0)
        reverse = log_s - log_r - tl.sum(b * (h + (dx - dy) * r_parts), axis=0) / r
        reverse = tl.where(tl.max(flags & 2, axis=0) > 0, INFINITY, tl.maximum(reverse, 0.0))
        tl.store(values_ptr + REVERSE_KL * n_rows + rows, tl.where(defined, reverse, NAN), mask=kept)
    if REFERENCE_ENTROPY >= 0:
        v = part(partial_ptr, 6, partial_field, parts, rows, partial_split, valid, 0.0)
        reference_entropy = log_r - tl.sum(b * (v + dy * r_parts), axis=0) / r
        reference_entropy = tl.where(defined, tl.maximum(reference_entropy, 0.0), NAN)
        tl.store(values_ptr + REFERENCE_ENTROPY * n_rows + rows, reference_entropy, mask=kept)
    if KL >= 0:
        tl.store(values_ptr + KL * n_rows + rows, kl, mask=kept)
    if CROSS_ENTROPY >= 0:
        tl.store(values_ptr + CROSS_ENTROPY * n_rows + rows, kl + entropy, mask=kept)
    if ENTROPY >= 0:
        tl.store(values_ptr + ENTROPY * n_rows + rows, entropy, mask=kept)
    tl.store(moments_ptr + rows, x_peak, mask=kept)
    tl.store(moments_ptr + n_rows + rows, log_s, mask=kept)
    tl.store(moments_ptr + 2 * n_rows + rows, y_peak, mask=kept)
    tl.store(moments_ptr + 3 * n_rows + rows, log_r, mask=kept)
    tl.store(moments_ptr + 4 * n_rows + rows, entropy, mask=kept)
    tl.store(moments_ptr + 5 * n_rows + rows, kl, mask=kept)
    tl.store(moments_ptr + 6 * n_rows + rows, tl.zeros_like(s), mask=kept)


@triton.jit
def log_probs(
    x, y, moments_ptr, n_rows, row, scale, softcap, SOFTCAP: tl.constexpr
):  # fmt: skip
    """Return the log-probs of logits x and y under their rows' distributions p and q, in base 2.

    `moments_ptr` holds the peaks and normalisers of the first pass.
    """
    x_shift = shift_of(tl.load(moments_ptr + row), softcap, SOFTCAP)
    y_shift = shift_of(tl.load(moments_ptr + 2 * n_rows + row), softcap, SOFTCAP)
    log_s = tl.load(moments_ptr + n_rows + row) / LN2
    log_r = tl.load(moments_ptr + 3 * n_rows + row) / LN2
    return exponent(x, x_shift, scale, softcap, SOFTCAP) - log_s, exponent(y, y_shift, scale, softcap, SOFTCAP) - log_r


@triton.jit
def log_mixture(log_p, log_q):
    """Return the log of `(p + q) / 2` in base 2, given the logs of p and q in base 2."""
    return tl.maximum(log_p, log_q) + (tl.log2(1.0 + tl.exp2(-tl.abs(log_p - log_q))) - 1.0)


@triton.jit(do_not_specialize=["n_rows", "n_inner", "x_outer", "x_inner", "y_outer", "y_inner", "temperature_stride"])
def mixture_divergence_kernel(
    x_ptr, y_ptr, temperature_ptr,
    moments_ptr,  # [DIVERGENCE_MOMENTS, T] float32
    out_ptr,  # OUT [2, T] float32: KL(p || m), KL(q || m)
    n_rows, n_inner, x_outer, x_inner, x_column, y_outer, y_inner, y_column, n_columns, temperature_stride, softcap,
    TEMPERATURE: tl.constexpr, SOFTCAP: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    n_rows = tl.cast(n_rows, tl.int64)
    outer = (row // n_inner).to(tl.int64)
    inner = (row % n_inner).to(tl.int64)
    x_offset = outer * x_outer + inner * x_inner
    y_offset = outer * y_outer + inner * y_inner
    if ALIGNED:
        x_offset = tl.multiple_of(x_offset, 16)
        y_offset = tl.multiple_of(y_offset, 16)
    scale = base2_scale(temperature_ptr, row, temperature_stride, TEMPERATURE)
    lane = tl.arange(0, BLOCK)
    of_p = tl.zeros((BLOCK,), tl.float32)
    of_q = tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(0, n_columns, BLOCK, num_stages=STAGES):
        columns = start + lane
        valid = columns < n_columns
        x = tl.load(x_ptr + x_offset + columns.to(tl.int64) * x_column, mask=valid, other=-INFINITY).to(tl.float32)
        y = tl.load(y_ptr + y_offset + columns.to(tl.int64) * y_column, mask=valid, other=-INFINITY).to(tl.float32)
        log_p, log_q = log_probs(x, y, moments_ptr, n_rows, row, scale, softcap, SOFTCAP)
        log_m = log_mixture(log_p, log_q)
        p_term = tl.exp2(log_p) * (log_p - log_m)
        q_term = tl.exp2(log_q) * (log_q - log_m)
        of_p += tl.where(valid, p_term, 0.0)
        of_q += tl.where(valid, q_term, 0.0)
    tl.store(out_ptr + row, tl.sum(of_p, axis=0) * LN2)
    tl.store(out_ptr + n_rows + row, tl.sum(of_q, axis=0) * LN2)


@triton.jit(do_not_specialize=["n_rows", "n_inner", "x_outer", "x_inner", "y_outer", "y_inner", "temperature_stride"])
def divergence_gradient_kernel(
    x_ptr, y_ptr, temperature_ptr,
    moments_ptr,  # [DIVERGENCE_MOMENTS, T] float32
    coefficients_ptr,  # [DIVERGENCE_COEFFICIENTS, T] float32
    gradient_ptr,  # OUT [T, V], contiguous
    n_rows, n_inner, x_outer, x_inner, x_column, y_outer, y_inner, y_column, n_columns, temperature_stride, softcap,
    TEMPERATURE: tl.constexpr, SOFTCAP: tl.constexpr, JSD: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    n_rows = tl.cast(n_rows, tl.int64)
    outer = (row // n_inner).to(tl.int64)
    inner = (row % n_inner).to(tl.int64)
    x_offset = outer * x_outer + inner * x_inner
    y_offset = outer * y_outer + inner * y_inner
    if ALIGNED:
        x_offset = tl.multiple_of(x_offset, 16)
        y_offset = tl.multiple_of(y_offset, 16)
    scale = base2_scale(temperature_ptr, row, temperature_stride, TEMPERATURE)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    valid = columns < n_columns
    x = tl.load(x_ptr + x_offset + columns.to(tl.int64) * x_column, mask=valid, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + y_offset + columns.to(tl.int64) * y_column, mask=valid, other=0.0).to(tl.float32)
    log_p, log_q = log_probs(x, y, moments_ptr, n_rows, row, scale, softcap, SOFTCAP)
    p = tl.exp2(log_p)
    q = tl.exp2(log_q)

    entropy = tl.load(moments_ptr + 4 * n_rows + row)
    kl = tl.load(moments_ptr + 5 * n_rows + row)
    g_kl = tl.load(coefficients_ptr + row)
    g_reverse = tl.load(coefficients_ptr + n_rows + row)
    g_cross = tl.load(coefficients_ptr + 2 * n_rows + row)
    g_entropy = tl.load(coefficients_ptr + 3 * n_rows + row)
    # An infinite divergence that is not used must not reach the others.
    kl = tl.where((g_kl != 0.0) | (g_cross != 0.0), kl, 0.0)
    dz = g_kl * ((log_p - log_q) * LN2 - kl)
    dz -= g_cross * (log_q * LN2 + (kl + entropy))
    dz -= g_entropy * (log_p * LN2 + entropy)
    if JSD:
        to_mixture = tl.load(moments_ptr + 6 * n_rows + row)
        g_jsd = tl.load(coefficients_ptr + 4 * n_rows + row)
        dz += 0.5 * g_jsd * ((log_p - log_mixture(log_p, log_q)) * LN2 - to_mixture)
    dz = p * (dz + g_reverse) - g_reverse * q
    if SOFTCAP:
        slope = tanh(x / softcap)
        dz *= 1.0 - slope * slope
    unused = (g_kl == 0.0) & (g_reverse == 0.0) & (g_cross == 0.0) & (g_entropy == 0.0)
    if JSD:
        unused = unused & (g_jsd == 0.0)
    dx = tl.where(unused, 0.0, dz * (scale * LN2))  # such a row may hold NaN
    place = gradient_ptr + row.to(tl.int64) * n_columns + columns
    tl.store(place, dx.to(gradient_ptr.dtype.element_ty), mask=valid)
