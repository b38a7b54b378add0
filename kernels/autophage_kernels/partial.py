"""Partial statistics: what one pass over some columns of a row leaves, and what two such results have in common.

For a set of columns C of one row, with peak m = max_C x, its shift m' = softcap(m) and u_v = (softcap(x_v) - m') / temperature:

    SUM     s = sum e^u          FIRST  t = sum e^u u        SECOND  q = sum e^u u^2        SQUARE  r = sum e^2u
    ABOVE   #{x_v > x_t}         EQUAL  #{x_v = x_t, v not t}        MASS  sum_{x_v > x_t} e^u
    ARGMAX  the lowest v with x_v = m        OWN  x_t where t is in C, else -inf

Moments are taken about the peak, never raw: a common offset of the logits then costs no precision. Re-based from a peak m
to a higher one, with d = (softcap(m) - softcap(m_new)) / temperature and a = e^d:

    s' = a s        t' = a (t + d s)        q' = a (q + 2 d t + d^2 s)        r' = a^2 r        MASS' = a MASS

Parts of one row merge by this rule and in no other way. Parts are the blocks of a kernel's loop, the slices of a long row and
the tiles of a fused head. At the end, with L = log s and mu = t / s:

    lse = m' / temperature + L      entropy = L - mu      varentropy = q / s - mu^2      renyi2 = 2 L - log r

Partial results are tensors [FIELDS, S, T]: S parts of T rows, in nats, float32 (float64 for float64 logits).
"""

from __future__ import annotations

from enum import IntEnum


class Field(IntEnum):
    """First index of a partial result."""

    PEAK = 0
    SUM = 1
    FIRST = 2
    SECOND = 3
    SQUARE = 4
    ABOVE = 5
    EQUAL = 6
    MASS = 7
    ARGMAX = 8
    OWN = 9


FIELDS = len(Field)


class Moment(IntEnum):
    """First index of what a backward pass needs of its forward, [MOMENTS, T]: kept in a tensor that no caller ever sees."""

    PEAK = 0
    LOG_SUM = 1
    ENTROPY = 2
    VARENTROPY = 3


MOMENTS = len(Moment)


class Coefficient(IntEnum):
    """First index of the incoming gradients, [COEFFICIENTS, T]."""

    LOGPROB = 0
    LSE = 1
    ENTROPY = 2
    VARENTROPY = 3


COEFFICIENTS = len(Coefficient)
