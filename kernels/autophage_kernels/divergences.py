"""Divergences of two next-token distributions: names, formulas, and the algebra of one pass.

For one row of logits x and y, p is `softmax(softcap(x) / temperature)` and q the same of y. In nats:

    kl                 KL(p || q) = sum_v p_v (log p_v - log q_v)
    reverse_kl         KL(q || p)
    cross_entropy      H(p, q) = -sum_v p_v log q_v = kl + entropy        (H(q, p) = reverse_kl + reference_entropy)
    entropy            H(p)
    reference_entropy  H(q)
    jsd                (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2; at most ln 2

A term is 0 if p_v is 0. If some q_v is 0 and p_v is not, kl and cross_entropy are +inf.

Partial results are `[DIVERGENCE_FIELDS, S, T]`. For columns C of a row with peaks m and n, let

    u_v = (softcap(x_v) - softcap(m)) / temperature        w_v = (softcap(y_v) - softcap(n)) / temperature

They hold the sums of e^u, e^u u, e^w, e^w w, e^u (u - w) and e^w (u - w). Small divergences would be lost in the difference of
two large entropies. Sums of differences keep them. Re-based by dx for x and dy for y (both <= 0):

    GAP' = e^dx (GAP + (dx - dy) SUM)      kl = GAP / SUM - L_p + L_q, with L = log SUM

The mixture needs the final normalisers, so jsd takes a second pass.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import NamedTuple

import torch


class Divergence(IntEnum):
    """Divergences of two next-token distributions, one bit each. A sum of them names a set."""

    KL = 1 << 0
    REVERSE_KL = 1 << 1
    CROSS_ENTROPY = 1 << 2
    ENTROPY = 1 << 3
    REFERENCE_ENTROPY = 1 << 4
    JSD = 1 << 5


ORDER = tuple(Divergence)
"""Order of the divergences in the rows of the packed output. Divergences that were not asked for have no row."""
ONE_PASS = sum(ORDER) - Divergence.JSD


class TokenDivergence(NamedTuple):
    """Divergences of two next-token distributions in nats. Fields have the logits' shape without the last dimension.

    A field is None if the call did not ask for it. Values are float32, or float64 for float64 logits. Gradients flow
    to the first logits through all fields but reference_entropy.
    """

    kl: torch.Tensor | None = None
    reverse_kl: torch.Tensor | None = None
    cross_entropy: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    reference_entropy: torch.Tensor | None = None
    jsd: torch.Tensor | None = None


class DivergenceField(IntEnum):
    """First index of a partial result of the divergences, `[DIVERGENCE_FIELDS, S, T]`.

    Each of T rows has S ranges of columns.
    """

    PEAK = 0
    SUM = 1
    FIRST = 2
    GAP = 3
    REFERENCE_PEAK = 4
    REFERENCE_SUM = 5
    REFERENCE_FIRST = 6
    REFERENCE_GAP = 7
    FORBIDDEN = 8  # bit 0: some p_v > 0 = q_v; bit 1: some q_v > 0 = p_v


DIVERGENCE_FIELDS = len(DivergenceField)


class DivergenceMoment(IntEnum):
    """First index of the moments `[DIVERGENCE_MOMENTS, T]` of T rows, which the backward and the second pass read."""

    PEAK = 0
    LOG_SUM = 1
    REFERENCE_PEAK = 2
    REFERENCE_LOG_SUM = 3
    ENTROPY = 4
    KL = 5
    TO_MIXTURE = 6  # KL(p || m), written by the second pass


DIVERGENCE_MOMENTS = len(DivergenceMoment)


class DivergenceCoefficient(IntEnum):
    """First index of the gradients of a loss to the divergences, `[DIVERGENCE_COEFFICIENTS, T]` for T rows."""

    KL = 0
    REVERSE_KL = 1
    CROSS_ENTROPY = 2
    ENTROPY = 3
    JSD = 4


DIVERGENCE_COEFFICIENTS = len(DivergenceCoefficient)


def chosen_divergences(names: Collection[str] | None) -> int:
    """Return the bits of the named divergences as one integer. None stands for all that take one pass over the logits.

    Raises:
        ValueError: A name is unknown, or no name is given.
    """
    if names is None:
        return ONE_PASS
    asked = {names} if isinstance(names, str) else set(names)
    if not asked or (unknown := asked - set(TokenDivergence._fields)):
        known = ", ".join(TokenDivergence._fields)
        raise ValueError(f"divergences are any of {known}; got {', '.join(sorted(unknown)) if asked else 'none'}")
    return sum(Divergence[name.upper()] for name in asked)


def divergence_slots(bits: int) -> dict[Divergence, int]:
    """Return the row of each divergence in the packed output, for those whose bit is set in `bits`."""
    return {divergence: row for row, divergence in enumerate(kept for kept in ORDER if kept & bits)}


def unpack_divergences(values_DT: torch.Tensor, bits: int, shape: torch.Size) -> TokenDivergence:
    """Return the divergences as fields of the given shape, from D divergences of T rows packed in `[D, T]`.

    `bits` tells which divergences the packed output holds. All other fields are None.
    """
    fields = {}
    for divergence, row in divergence_slots(bits).items():
        values = values_DT[row].view(shape)
        fields[divergence.name.lower()] = values.detach() if divergence == Divergence.REFERENCE_ENTROPY else values
    return TokenDivergence(**fields)
