"""Kernel: partial statistics of each row and split (`partial.py` has the algebra).

One program reads one split of one row once. Sums are kept lane by lane in float32 and reduced at the end. The maximum is the
only reduction across lanes in a block. Moments are re-based only when it grows, about ln(blocks) times a row.

The loop over whole blocks is unmasked, so that loads are 128 bits wide for any V. The edge takes a masked turn afterwards:
columns before the first aligned one and behind the last whole block. ALIGNMENT = PEEL gives wide loads for odd row strides
(V = 50257).

The kernel uses no atomics, so that the result does not depend on the order of programs.
"""

import triton
import triton.language as tl

from autophage_kernels.triton_kernels.algebra import (
    INFINITY,
    LN2,
    NAN,
    NOWHERE,
    base2_scale,
    floored,
    rebase,
    shift_of,
    softcapped,
)

UNKNOWN = tl.constexpr(0)  # alignment of a row's first logit: unknown, a multiple of 16 elements, or to be peeled off
ALIGNED = tl.constexpr(1)
PEEL = tl.constexpr(2)


@triton.jit
def absorb(
    x, columns, valid, peak, shift, s, t, q, r, counts, equals, mass, best, level, scale, softcap,
    SOFTCAP: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, SQUARE: tl.constexpr, ABOVE: tl.constexpr,
    EQUAL: tl.constexpr, MASS: tl.constexpr, ARGMAX: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """Return the state of a row's partial statistics after one more block of logits x `[BLOCK]`.

    `valid` masks columns and matters in the edge only.
    """
    top = tl.max(x, axis=0)
    grows = top > peak
    if EDGE and ARGMAX:
        grows = top >= peak  # the edge comes last, but its columns may come first
    if grows:
        new_shift = shift_of(top, softcap, SOFTCAP)
        d = rebase(peak, shift, new_shift, scale, SOFTCAP)
        a = tl.exp2(d)
        if SECOND:
            q = (q + d * (2.0 * t + d * s)) * a
        if FIRST:
            t = (t + d * s) * a
        if SQUARE:
            r = r * (a * a)
        if MASS:
            mass = mass * a
        s = s * a
        if ARGMAX:
            first = tl.where(x == top, columns, NOWHERE)
            if EDGE:
                first = tl.where(valid, first, NOWHERE)
            found = tl.min(first, axis=0)
            if EDGE:
                found = tl.where(top == peak, tl.minimum(best, found), found)
            best = found
        peak = top
        shift = new_shift
    u = floored((softcapped(x, softcap, SOFTCAP) - shift) * scale)
    e = tl.exp2(u)
    if EDGE:
        e = tl.where(valid, e, 0.0)
    s += e
    if FIRST:
        eu = e * u
        t += eu
    if SECOND:
        q += eu * u
    if SQUARE:
        r += e * e
    # A comparison becomes 1.0 or 0.0 in one instruction. Float32 holds a lane's counts exactly.
    if ABOVE:
        above = (x > level).to(tl.float32)
        if EDGE:
            above = tl.where(valid, above, 0.0)
        counts += above
        if MASS:
            mass += above * e
    if EQUAL:
        equal = (x == level).to(tl.float32)
        if EDGE:
            equal = tl.where(valid, equal, 0.0)
        equals += equal
    return peak, shift, s, t, q, r, counts, equals, mass, best


@triton.jit(
    do_not_specialize=[
        "n_inner", "stride_outer", "stride_inner", "blocks_per_split", "first_column",
        "temperature_stride", "partial_field", "partial_split",
    ]
)  # fmt: skip
def partial_stats_kernel(
    logits_ptr,  # [B, L, V], any strides
    target_ptr,  # [T] int64, in the whole vocabulary
    level_ptr,  # [T] float32, the logit to count against, where LEVEL
    temperature_ptr,  # [T] or [1] float32, where TEMPERATURE
    partial_ptr,  # OUT [FIELDS, S, T] float32
    n_inner, stride_outer, stride_inner, stride_column, n_columns, blocks_per_split, first_column,
    temperature_stride, partial_field, partial_split, softcap,
    TARGET: tl.constexpr, LEVEL: tl.constexpr, TEMPERATURE: tl.constexpr, SOFTCAP: tl.constexpr,
    FIRST: tl.constexpr, SECOND: tl.constexpr, SQUARE: tl.constexpr, ABOVE: tl.constexpr, EQUAL: tl.constexpr,
    MASS: tl.constexpr, ARGMAX: tl.constexpr, CONTIGUOUS: tl.constexpr, ALIGNMENT: tl.constexpr, BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    split = tl.program_id(1)
    # 64 bits before the first product: row * stride passes 2^31 at 14,134 rows of 151,936 logits.
    offset = (row // n_inner).to(tl.int64) * stride_outer + (row % n_inner).to(tl.int64) * stride_inner
    if ALIGNMENT == ALIGNED:
        offset = tl.multiple_of(offset, 16)
    low = split * blocks_per_split * BLOCK
    high = tl.minimum(low + blocks_per_split * BLOCK, n_columns)
    scale = base2_scale(temperature_ptr, row, temperature_stride, TEMPERATURE)
    lane = tl.arange(0, BLOCK)

    level = NAN
    own = -INFINITY
    here = False
    if TARGET:
        target = tl.load(target_ptr + row) - first_column
        inside = (target >= 0) & (target < n_columns)
        here = (target >= low) & (target < high)
        value = tl.load(logits_ptr + offset + tl.where(inside, target, 0) * stride_column).to(tl.float32)
        own = tl.where(here, value, -INFINITY)
        level = tl.where(inside, value, NAN)
        if LEVEL:
            level = tl.load(level_ptr + row)

    peak = tl.full((), -INFINITY, tl.float32)
    shift = shift_of(peak, softcap, SOFTCAP)
    s = tl.zeros((BLOCK,), tl.float32)
    t = tl.zeros((BLOCK,), tl.float32)
    q = tl.zeros((BLOCK,), tl.float32)
    r = tl.zeros((BLOCK,), tl.float32)
    mass = tl.zeros((BLOCK,), tl.float32)
    counts = tl.zeros((BLOCK,), tl.float32)
    equals = tl.zeros((BLOCK,), tl.float32)
    best = low

    start = offset + low
    head = 0
    if ALIGNMENT == PEEL:
        start = (start + 15) // 16 * 16
        head = tl.minimum((start - offset).to(tl.int32) - low, high - low)
    blocks = (high - low - head) // BLOCK
    for block in tl.range(0, blocks, num_stages=STAGES):
        columns = low + head + block * BLOCK + lane
        if CONTIGUOUS:
            x = tl.load(logits_ptr + start + block * BLOCK + lane).to(tl.float32)
        else:
            x = tl.load(logits_ptr + offset + columns.to(tl.int64) * stride_column).to(tl.float32)
        peak, shift, s, t, q, r, counts, equals, mass, best = absorb(
            x, columns, True, peak, shift, s, t, q, r, counts, equals, mass, best, level, scale, softcap,
            SOFTCAP, FIRST, SECOND, SQUARE, ABOVE, EQUAL, MASS, ARGMAX, False,
        )  # fmt: skip
    covered = blocks * BLOCK
    for first in tl.range(0, high - low - covered, BLOCK):
        place = first + lane
        columns = low + covered + place
        if ALIGNMENT == PEEL:
            columns = tl.where(place < head, low + place, columns)
        valid = columns < high
        x = tl.load(logits_ptr + offset + columns.to(tl.int64) * stride_column, mask=valid, other=-INFINITY).to(
            tl.float32
        )
        peak, shift, s, t, q, r, counts, equals, mass, best = absorb(
            x, columns, valid, peak, shift, s, t, q, r, counts, equals, mass, best, level, scale, softcap,
            SOFTCAP, FIRST, SECOND, SQUARE, ABOVE, EQUAL, MASS, ARGMAX, True,
        )  # fmt: skip

    out = partial_ptr + split.to(tl.int64) * partial_split + row
    partial_field = tl.cast(partial_field, tl.int64)
    tl.store(out, peak)
    tl.store(out + partial_field, tl.sum(s, axis=0))
    if FIRST:
        tl.store(out + 2 * partial_field, tl.sum(t, axis=0) * LN2)
    if SECOND:
        tl.store(out + 3 * partial_field, tl.sum(q, axis=0) * (LN2 * LN2))
    if SQUARE:
        tl.store(out + 4 * partial_field, tl.sum(r, axis=0))
    # The target is left out by its index, as its recomputed logit may differ from the level it set.
    if ABOVE:
        itself = here & (own > level)
        tl.store(out + 5 * partial_field, tl.sum(counts, axis=0) - itself.to(tl.float32))
    if EQUAL:
        same = here & (own == level)
        tl.store(out + 6 * partial_field, tl.sum(equals, axis=0) - same.to(tl.float32))
    if MASS:
        itself = here & (own > level)
        excess = tl.where(itself, tl.exp2(floored((softcapped(own, softcap, SOFTCAP) - shift) * scale)), 0.0)
        tl.store(out + 7 * partial_field, tl.maximum(tl.sum(mass, axis=0) - excess, 0.0))
    if ARGMAX:
        tl.store(out + 8 * partial_field, (best + first_column).to(tl.float32))
    if TARGET:
        tl.store(out + 9 * partial_field, own)
