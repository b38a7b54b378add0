"""Partial statistics of some columns of a row, and the rule by which they merge.

For a set of columns C of one row, the peak is m = max_C x and the shift is m' = softcap(m). With u_v = (softcap(x_v) - m')
/ temperature:

    SUM     s = sum e^u          FIRST  t = sum e^u u        SECOND  q = sum e^u u^2        SQUARE  r = sum e^2u
    ABOVE   #{x_v > x_t}         EQUAL  #{x_v = x_t, v not t}        MASS  sum_{x_v > x_t} e^u
    ARGMAX  the lowest v with x_v = m        OWN  x_t where t is in C, else -inf

Moments are taken about the peak. A common offset of the logits then costs no precision. A part is re-based from its peak m to
a higher one. With d = (softcap(m) - softcap(m_new)) / temperature and a = e^d:

    s' = a s        t' = a (t + d s)        q' = a (q + 2 d t + d^2 s)        r' = a^2 r        MASS' = a MASS

Parts of one row merge by this rule alone. A part is a block of a kernel's loop, a slice of a long row or a tile of a fused
head. At the end, with L = log s and mu = t / s:

    lse = m' / temperature + L      entropy = L - mu      varentropy = q / s - mu^2      renyi2 = 2 L - log r

Partial results are tensors `[FIELDS, S, T]` for S parts of T rows. They are in nats and float32 (float64 for float64 logits).
"""

from __future__ import annotations

from enum import IntEnum


class Field(IntEnum):
    """First index of a partial result of the statistics, `[FIELDS, S, T]`. Each of T rows has S ranges of columns."""

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
    """First index of the moments `[MOMENTS, T]` of T rows, which a backward pass reads. Callers never see them."""

    PEAK = 0
    LOG_SUM = 1
    ENTROPY = 2
    VARENTROPY = 3


MOMENTS = len(Moment)


class Coefficient(IntEnum):
    """First index of the gradients of a loss to the statistics, `[COEFFICIENTS, T]` for T rows."""

    LOGPROB = 0
    LSE = 1
    ENTROPY = 2
    VARENTROPY = 3


COEFFICIENTS = len(Coefficient)
