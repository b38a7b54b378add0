"""The vocabulary of divergences, and the algebra of one pass over two distributions.

For one row of logits x, y with p = softmax(softcap(x) / temperature) and q the same of y, in nats:

    kl                 KL(p || q) = sum_v p_v (log p_v - log q_v)
    reverse_kl         KL(q || p)
    cross_entropy      H(p, q) = -sum_v p_v log q_v = kl + entropy        (H(q, p) = reverse_kl + reference_entropy)
    entropy            H(p)
    reference_entropy  H(q)
    jsd                (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2; at most ln 2

Where p_v = 0 a term is 0; where p_v > 0 = q_v, kl and cross_entropy are +inf.

Partial results [FIELDS, S, T]: for columns C of a row with peaks m, n, u_v = (softcap(x_v) - softcap(m)) / temperature and w_v
likewise, the sums of e^u, e^u u, e^w, e^w w, e^u (u - w) and e^w (u - w). Kept as differences, small divergences are not lost
in large entropies. Re-based by dx for x and dy for y (both <= 0):

    GAP' = e^dx (GAP + (dx - dy) SUM)      kl = GAP / SUM - L_p + L_q, with L = log SUM

Exact normalisers are known only at the end, so jsd takes a second pass.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import NamedTuple

import torch


class Divergence(IntEnum):
    """One bit for each divergence."""

    KL = 1 << 0
    REVERSE_KL = 1 << 1
    CROSS_ENTROPY = 1 << 2
    ENTROPY = 1 << 3
    REFERENCE_ENTROPY = 1 << 4
    JSD = 1 << 5


ORDER = tuple(Divergence)
"""Rows of the packed output, those not asked for left out."""
ONE_PASS = sum(ORDER) - Divergence.JSD


class TokenDivergence(NamedTuple):
    """Divergences of each row, in the shape of the logits without their last dimension; None where not asked for.

    float32 (float64 for float64 logits). Gradients flow to the first logits through all but reference_entropy.
    """

    kl: torch.Tensor | None = None
    reverse_kl: torch.Tensor | None = None
    cross_entropy: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    reference_entropy: torch.Tensor | None = None
    jsd: torch.Tensor | None = None


class DivergenceField(IntEnum):
    """First index of a partial result."""

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
    """First index of what the backward and the second pass need of the first, [DIVERGENCE_MOMENTS, T]."""

    PEAK = 0
    LOG_SUM = 1
    REFERENCE_PEAK = 2
    REFERENCE_LOG_SUM = 3
    ENTROPY = 4
    KL = 5
    TO_MIXTURE = 6  # KL(p || m), written by the second pass


DIVERGENCE_MOMENTS = len(DivergenceMoment)


class DivergenceCoefficient(IntEnum):
    """First index of the incoming gradients, [DIVERGENCE_COEFFICIENTS, T]."""

    KL = 0
    REVERSE_KL = 1
    CROSS_ENTROPY = 2
    ENTROPY = 3
    JSD = 4


DIVERGENCE_COEFFICIENTS = len(DivergenceCoefficient)


def chosen_divergences(names: Collection[str] | None) -> int:
    """The bits for names of `TokenDivergence`; None stands for what one pass gives.

    Raises:
        ValueError: an unknown name, or none at all.
    """
    if names is None:
        return ONE_PASS
    asked = {names} if isinstance(names, str) else set(names)
    if not asked or (unknown := asked - set(TokenDivergence._fields)):
        known = ", ".join(TokenDivergence._fields)
        raise ValueError(f"divergences are any of {known}; got {', '.join(sorted(unknown)) if asked else 'none'}")
    return sum(Divergence[name.upper()] for name in asked)


def divergence_slots(bits: int) -> dict[Divergence, int]:
    """Row of each chosen divergence in the packed output."""
    return {divergence: row for row, divergence in enumerate(kept for kept in ORDER if kept & bits)}


def unpack_divergences(values_DT: torch.Tensor, bits: int, shape: torch.Size) -> TokenDivergence:
    """The packed output [D, T] as fields of the given shape."""
    fields = {}
    for divergence, row in divergence_slots(bits).items():
        values = values_DT[row].view(shape)
        fields[divergence.name.lower()] = values.detach() if divergence == Divergence.REFERENCE_ENTROPY else values
    return TokenDivergence(**fields)
