"""Kernel: merge of a row's partial statistics into its statistics.

The same kernel ends a split row and the tiles of a fused head. One program merges ROWS rows, each over all its parts.
Neighbouring rows are neighbours in memory.
"""

import triton
import triton.language as tl

from autophage_kernels.triton_kernels.algebra import (
    INFINITY,
    LN2,
    NAN,
    NOWHERE,
    base2_scale,
    rebase,
    shift_of,
    softcapped,
)

ROUNDING = tl.constexpr(1e-5)
"""A log-prob may exceed 0 by this much through rounding and becomes 0. More is a wrong sum and becomes NaN."""


@triton.jit
def part(partial_ptr, field, partial_field, parts, rows, partial_split, valid, other):
    """Load one field of all S parts of a program's R rows, `[S, R]`. Invalid places get the value `other`."""
    place = field * partial_field + parts[:, None] * partial_split + rows[None, :]
    return tl.load(partial_ptr + place, mask=valid, other=other)


@triton.jit(
    do_not_specialize=[
        "n_rows", "n_parts", "partial_field", "partial_split", "temperature_stride", "ignore_index", "vocabulary",
    ]
)  # fmt: skip
def merge_stats_kernel(
    partial_ptr,  # [FIELDS, S, T] float32
    target_ptr,  # [T] int64, where TARGET
    temperature_ptr,  # [T] or [1] float32, where TEMPERATURE
    floats_ptr,  # OUT [F, T] float32
    integers_ptr,  # OUT [I, T] int64
    moments_ptr,  # OUT [MOMENTS, T] float32
    n_rows, n_parts, partial_field, partial_split, temperature_stride, ignore_index, vocabulary, softcap,
    TARGET: tl.constexpr, TEMPERATURE: tl.constexpr, SOFTCAP: tl.constexpr,
    # Each statistic's row in its output, or -1 where it is not asked for.
    LOGPROB: tl.constexpr, LSE: tl.constexpr, ENTROPY: tl.constexpr, VARENTROPY: tl.constexpr, MAX_PROB: tl.constexpr,
    RENYI2: tl.constexpr, MASS_ABOVE: tl.constexpr, RANK: tl.constexpr,
    TIES: tl.constexpr, ARGMAX: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    kept = rows < n_rows
    parts = tl.arange(0, PARTS).to(tl.int64)
    n_rows = tl.cast(n_rows, tl.int64)
    partial_field = tl.cast(partial_field, tl.int64)
    valid = (parts[:, None] < n_parts) & kept[None, :]
    safe_rows = tl.where(kept, rows, 0)
    scale = base2_scale(temperature_ptr, safe_rows, temperature_stride, TEMPERATURE)  # a number, or one for each row
    spread = scale
    if TEMPERATURE:
        spread = scale[None, :]

    peaks = part(partial_ptr, 0, partial_field, parts, rows, partial_split, valid, -INFINITY)
    peak = tl.max(peaks, axis=0)
    shift = shift_of(peak, softcap, SOFTCAP)
    d = rebase(peaks, shift_of(peaks, softcap, SOFTCAP), shift[None, :], spread, SOFTCAP)
    a = tl.exp2(d)
    sums = part(partial_ptr, 1, partial_field, parts, rows, partial_split, valid, 0.0)
    s = tl.sum(a * sums, axis=0)
    defined = (s > 0.0) & (s < INFINITY)  # false for a row that is all -inf, has +inf, or has NaN
    log2_sum = tl.log2(s)
    log_sum = tl.where(defined, log2_sum * LN2, NAN)
    entropy = tl.zeros_like(s)
    varentropy = tl.zeros_like(s)

    if ENTROPY >= 0 or VARENTROPY >= 0:
        d *= LN2
        t = part(partial_ptr, 2, partial_field, parts, rows, partial_split, valid, 0.0)
        mean = tl.sum(a * (t + d * sums), axis=0) / s
        entropy = tl.where(defined, tl.maximum(log_sum - mean, 0.0), NAN)
        if VARENTROPY >= 0:
            q = part(partial_ptr, 3, partial_field, parts, rows, partial_split, valid, 0.0)
            square = tl.sum(a * (q + d * (2.0 * t + d * sums)), axis=0) / s
            varentropy = tl.where(defined, tl.maximum(square - mean * mean, 0.0), NAN)
            tl.store(floats_ptr + VARENTROPY * n_rows + rows, varentropy, mask=kept)
        if ENTROPY >= 0:
            tl.store(floats_ptr + ENTROPY * n_rows + rows, entropy, mask=kept)
    tl.store(moments_ptr + rows, peak, mask=kept)
    tl.store(moments_ptr + n_rows + rows, log_sum, mask=kept)
    tl.store(moments_ptr + 2 * n_rows + rows, entropy, mask=kept)
    tl.store(moments_ptr + 3 * n_rows + rows, varentropy, mask=kept)

    if LSE >= 0:
        empty = tl.where(s == 0.0, -INFINITY, s)  # -inf, +inf and NaN speak for themselves
        lse = tl.where(defined, shift * scale * LN2 + log_sum, empty)
        tl.store(floats_ptr + LSE * n_rows + rows, lse, mask=kept)
    if MAX_PROB >= 0:
        tl.store(floats_ptr + MAX_PROB * n_rows + rows, tl.where(defined, 1.0 / s, NAN), mask=kept)
    if RENYI2 >= 0:
        r = tl.sum(a * a * part(partial_ptr, 4, partial_field, parts, rows, partial_split, valid, 0.0), axis=0)
        renyi2 = tl.where(defined, tl.maximum((2.0 * log2_sum - tl.log2(r)) * LN2, 0.0), NAN)
        tl.store(floats_ptr + RENYI2 * n_rows + rows, renyi2, mask=kept)
    if ARGMAX >= 0:
        columns = part(partial_ptr, 8, partial_field, parts, rows, partial_split, valid, 0.0).to(tl.int32)
        best = tl.min(tl.where((peaks == peak[None, :]) & valid, columns, NOWHERE), axis=0)
        best = tl.where(s == s, best, -1)
        tl.store(integers_ptr + ARGMAX * n_rows + rows, best.to(tl.int64), mask=kept)

    if TARGET:
        target = tl.load(target_ptr + rows, mask=kept, other=0)
        ignored = target == ignore_index
        outside = (target < 0) | (target >= vocabulary)
        if LOGPROB >= 0:
            owns = part(partial_ptr, 9, partial_field, parts, rows, partial_split, valid, -INFINITY)
            own = softcapped(tl.max(owns, axis=0), softcap, SOFTCAP)
            logprob = (own - shift) * (scale * LN2) - log_sum
            # minimum(NaN, 0) may be 0, so NaN is put back.
            logprob = tl.where(logprob <= ROUNDING, tl.minimum(logprob, 0.0), NAN)
            logprob = tl.where(ignored, 0.0, tl.where(outside, NAN, logprob))
            tl.store(floats_ptr + LOGPROB * n_rows + rows, logprob, mask=kept)
        if MASS_ABOVE >= 0:
            masses = part(partial_ptr, 7, partial_field, parts, rows, partial_split, valid, 0.0)
            mass = tl.where(defined, tl.sum(a * masses, axis=0) / s, NAN)
            mass = tl.where(ignored, 0.0, tl.where(outside, NAN, mass))
            tl.store(floats_ptr + MASS_ABOVE * n_rows + rows, mass, mask=kept)
        unranked = ignored | outside | (s != s)
        if RANK >= 0:
            above = tl.sum(part(partial_ptr, 5, partial_field, parts, rows, partial_split, valid, 0.0), axis=0)
            rank = tl.where(unranked, -1, above.to(tl.int64) + 1)
            tl.store(integers_ptr + RANK * n_rows + rows, rank, mask=kept)
        if TIES >= 0:
            equal = tl.sum(part(partial_ptr, 6, partial_field, parts, rows, partial_split, valid, 0.0), axis=0)
            ties = tl.where(unranked, -1, equal.to(tl.int64) + 1)
            tl.store(integers_ptr + TIES * n_rows + rows, ties, mask=kept)
