"""Functions shared by the kernels: the transform of logits, re-basing, and units.

Exponents inside a kernel are in base 2, as the hardware computes 2^x: u2 = u log2(e). Moments that leave a kernel are
multiplied by ln 2 or its square. Every reduction is over float32.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
FLOOR = tl.constexpr(-200.0)
"""Lowest exponent in base 2. 2^FLOOR is 0 in float32. 0 * FLOOR is 0, whereas 0 * -inf would be NaN."""
INFINITY = tl.constexpr(float("inf"))
NAN = tl.constexpr(float("nan"))
NOWHERE = tl.constexpr(1 << 30)
"""Column number above every other."""


@triton.jit
def tanh(y):
    """Return the hyperbolic tangent of y, with a relative error of 2e-7.

    An odd series serves near 0, where 1 - e would cancel. e^-2|y| serves elsewhere and cannot overflow.
    """
    e = tl.exp2(tl.abs(y) * (-2.0 * LOG2E))
    far = (1.0 - e) / (1.0 + e)
    y2 = y * y
    near = y * (1.0 + y2 * (-1.0 / 3.0 + y2 * (2.0 / 15.0 + y2 * (-17.0 / 315.0 + y2 * (62.0 / 2835.0)))))
    return tl.where(tl.abs(y) < 0.25, near, tl.where(y < 0.0, -far, far))


@triton.jit
def softcapped(x, softcap, SOFTCAP: tl.constexpr):
    if SOFTCAP:
        x = softcap * tanh(x / softcap)
    return x


@triton.jit
def shift_of(peak, softcap, SOFTCAP: tl.constexpr):
    """Return the offset to subtract from the softcapped logits of a row whose largest logit is `peak`.

    Without a softcap it is 0 for an infinite peak, as inf - inf is NaN.
    """
    shift = softcapped(peak, softcap, SOFTCAP)
    if not SOFTCAP:
        shift = tl.where(tl.abs(peak) == INFINITY, 0.0, peak)
    return shift


@triton.jit
def base2_scale(temperature_ptr, rows, stride, TEMPERATURE: tl.constexpr):
    """Return `log2(e) / temperature` of each row, or `log2(e)` without a temperature.

    It is NaN if the temperature is not above 0.
    """
    scale = LOG2E
    if TEMPERATURE:
        temperature = tl.load(temperature_ptr + rows * stride)
        scale = tl.where(temperature > 0.0, LOG2E / temperature, NAN)
    return scale


@triton.jit
def rebase(peak, shift, new_shift, scale, SOFTCAP: tl.constexpr):
    """Return the exponent in base 2 that re-bases a part to a higher peak, `(shift - new_shift) * scale`.

    It is never above 0. It is 0 for a part that is all -inf, as its sum is 0. With a softcap such a part has a sum.
    """
    d = (shift - new_shift) * scale
    if not SOFTCAP:
        d = tl.where(peak == -INFINITY, 0.0, d)
    return tl.minimum(floored(d), 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def floored(u2):
    return tl.maximum(u2, FLOOR, propagate_nan=tl.PropagateNan.ALL)
