"""Statistics of a next-token distribution: names, formulas, and the packed outputs of a call.

For one row of logits x with z = softcap(x) / temperature, p = softmax(z) and target t:

    lse         = log sum_v exp z_v                        nats
    logprob     = z_t - lse                                nats, never above 0
    entropy     = -sum_v p_v log p_v                       nats
    varentropy  =  sum_v p_v (log p_v + entropy)^2         nats^2, the variance of the surprisal
    renyi2      = -log sum_v p_v^2                         nats, the collision entropy
    max_prob    = max_v p_v
    argmax      = the lowest v that has the largest x_v
    rank        = 1 + #{v : x_v > x_t}                     the most probable token has rank 1
    ties        = #{v : x_v = x_t}                         the target itself included
    mass_above  = sum_{v : x_v > x_t} p_v                  0 for the most probable token

Rank and ties compare the logits as given. Softcap and temperature could round distinct logits to equal ones. A masked token
(-inf) has probability 0 and adds nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import NamedTuple

import torch


class Statistic(IntEnum):
    """Statistics of a next-token distribution, one bit each. A sum of them names a set.

    Kernels compute only the statistics asked for.
    """

    LOGPROB = 1 << 0
    LSE = 1 << 1
    ENTROPY = 1 << 2
    VARENTROPY = 1 << 3
    MAX_PROB = 1 << 4
    RENYI2 = 1 << 5
    MASS_ABOVE = 1 << 6
    RANK = 1 << 7
    TIES = 1 << 8
    ARGMAX = 1 << 9


FLOATS = (
    Statistic.LOGPROB,
    Statistic.LSE,
    Statistic.ENTROPY,
    Statistic.VARENTROPY,
    Statistic.MAX_PROB,
    Statistic.RENYI2,
    Statistic.MASS_ABOVE,
)
"""Order of the statistics in the rows of the packed float output. Those that were not asked for have no row."""
INTEGERS = (Statistic.RANK, Statistic.TIES, Statistic.ARGMAX)
"""Order of the statistics in the rows of the packed int64 output."""
DIFFERENTIABLE = (Statistic.LOGPROB, Statistic.LSE, Statistic.ENTROPY, Statistic.VARENTROPY)
"""Statistics with a gradient. The others are returned detached."""
OF_TARGET = Statistic.LOGPROB | Statistic.MASS_ABOVE | Statistic.RANK | Statistic.TIES
"""Bits of the statistics that need a target token."""
ALL = sum(FLOATS) + sum(INTEGERS)
NAMES = tuple(statistic.name.lower() for statistic in Statistic)
"""Names of all statistics, as calls of `token_stats` give them."""


class TokenStats(NamedTuple):
    """Statistics of next-token distributions. Fields have the logits' shape without the last dimension.

    Log-probs, lse and entropies are in nats, varentropy in nats^2. A field is None if the call did not ask for it.
    Rank, ties and argmax are int64. The other fields are float32, or float64 for float64 logits. Gradients flow
    through logprob, lse, entropy and varentropy.
    """

    logprob: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    varentropy: torch.Tensor | None = None
    max_prob: torch.Tensor | None = None
    rank: torch.Tensor | None = None
    ties: torch.Tensor | None = None
    argmax: torch.Tensor | None = None
    mass_above: torch.Tensor | None = None
    lse: torch.Tensor | None = None
    renyi2: torch.Tensor | None = None


def chosen(statistics: Collection[str] | None, *, with_target: bool) -> int:
    """Return the bits of the named statistics as one integer.

    None stands for all statistics, or without a target for all that need none.

    Raises:
        ValueError: A name is unknown, no name is given, or a name needs a target and there is none.
    """
    if statistics is None:
        return ALL if with_target else ALL & ~OF_TARGET
    names = {statistics} if isinstance(statistics, str) else set(statistics)
    if not names or (unknown := names - set(NAMES)):
        known = ", ".join(NAMES)
        raise ValueError(f"statistics are any of {known}; got {', '.join(sorted(unknown)) if names else 'none'}")
    bits = 0
    for name in names:
        bits |= Statistic[name.upper()]
    if bits & OF_TARGET and not with_target:
        asked = ", ".join(sorted(name for name in names if Statistic[name.upper()] & OF_TARGET))
        raise ValueError(f"{asked} asks for a target, and target is None")
    return bits


def slots(bits: int, order: tuple[Statistic, ...]) -> Mapping[Statistic, int]:
    """Return the row of each statistic in the packed output of this order, for those whose bit is set in `bits`."""
    kept = [statistic for statistic in order if statistic & bits]
    return {statistic: row for row, statistic in enumerate(kept)}


def unpack(floats_FT: torch.Tensor, integers_IT: torch.Tensor, bits: int, shape: torch.Size) -> TokenStats:
    """Return the statistics as fields of the given shape, from packed floats `[F, T]` and integers `[I, T]` of T rows.

    `bits` tells which statistics the packed outputs hold. All other fields are None.
    """
    fields: dict[str, torch.Tensor] = {}
    for packed, order in ((floats_FT, FLOATS), (integers_IT, INTEGERS)):
        for statistic, row in slots(bits, order).items():
            values = packed[row].view(shape)
            fields[statistic.name.lower()] = values if statistic in DIFFERENTIABLE else values.detach()
    return TokenStats(**fields)
