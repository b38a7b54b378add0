"""The vocabulary: which statistics there are, what they mean, and how a call chooses among them.

For one row of logits x with z = softcap(x) / temperature, p = softmax(z) and target t:

    lse         = log sum_v exp z_v                        nats; also as its two parts, lse = max_logit + log_sum
    logprob     = z_t - lse                                nats, never above 0
    entropy     = -sum_v p_v log p_v                       nats
    varentropy  =  sum_v p_v (log p_v + entropy)^2         nats^2, the variance of the surprisal
    renyi2      = -log sum_v p_v^2                         nats, the collision entropy
    max_prob    = max_v p_v
    argmax      = the lowest v that has the largest x_v
    rank        = 1 + #{v : x_v > x_t}                     the most probable token has rank 1
    ties        = #{v : x_v = x_t}                         the target itself included
    mass_above  = sum_{v : x_v > x_t} p_v                  0 for the most probable token

Rank and ties compare the logits as they were given, before any rounding by softcap or temperature could make equal what
was not. A masked token (-inf) has probability 0 and adds nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import NamedTuple

import torch


class Statistic(IntEnum):
    """One bit for each statistic; kernels compute those asked for and nothing else."""

    LOGPROB = 1 << 0
    LSE = 1 << 1
    ENTROPY = 1 << 2
    VARENTROPY = 1 << 3
    MAX_LOGIT = 1 << 4
    LOG_SUM = 1 << 5
    MAX_PROB = 1 << 6
    RENYI2 = 1 << 7
    MASS_ABOVE = 1 << 8
    RANK = 1 << 9
    TIES = 1 << 10
    ARGMAX = 1 << 11


FLOATS = (
    Statistic.LOGPROB,
    Statistic.LSE,
    Statistic.ENTROPY,
    Statistic.VARENTROPY,
    Statistic.MAX_LOGIT,
    Statistic.LOG_SUM,
    Statistic.MAX_PROB,
    Statistic.RENYI2,
    Statistic.MASS_ABOVE,
)
"""Rows of the packed float output, in this order, those not asked for left out."""
INTEGERS = (Statistic.RANK, Statistic.TIES, Statistic.ARGMAX)
"""Rows of the packed int64 output, likewise."""
DIFFERENTIABLE = (Statistic.LOGPROB, Statistic.LSE, Statistic.ENTROPY, Statistic.VARENTROPY)
"""What has a gradient; the others are returned detached."""
OF_TARGET = Statistic.LOGPROB | Statistic.MASS_ABOVE | Statistic.RANK | Statistic.TIES
"""What asks for a target."""
ALL = sum(FLOATS) + sum(INTEGERS)


class TokenStats(NamedTuple):
    """Statistics of each row, in the shape of the logits without their last dimension; None where not asked for.

    float32 (float64 for float64 logits), and int64 for rank, ties and argmax. Gradients flow through logprob, lse,
    entropy and varentropy.
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
    max_logit: torch.Tensor | None = None
    log_sum: torch.Tensor | None = None
    renyi2: torch.Tensor | None = None

    @property
    def vllm_rank(self) -> torch.Tensor:
        """Rank as vLLM counts it, #{v : x_v >= x_t}: the last place among the tied instead of the first; -1 where rank is.

        Raises:
            ValueError: rank or ties were not asked for.
        """
        if self.rank is None or self.ties is None:
            raise ValueError("vllm_rank is made of rank and ties: ask for both")
        return torch.where(self.rank > 0, self.rank + self.ties - 1, self.rank)


def chosen(statistics: Collection[str] | None, *, with_target: bool) -> int:
    """The bits for names of `TokenStats`; None stands for everything that can be told with or without a target.

    Raises:
        ValueError: an unknown name, none at all, or one that needs a target where there is none.
    """
    if statistics is None:
        return ALL if with_target else ALL & ~OF_TARGET
    names = {statistics} if isinstance(statistics, str) else set(statistics)
    if not names or (unknown := names - set(TokenStats._fields)):
        known = ", ".join(TokenStats._fields)
        raise ValueError(f"statistics are any of {known}; got {', '.join(sorted(unknown)) if names else 'none'}")
    bits = 0
    for name in names:
        bits |= Statistic[name.upper()]
    if bits & OF_TARGET and not with_target:
        asked = ", ".join(sorted(name for name in names if Statistic[name.upper()] & OF_TARGET))
        raise ValueError(f"{asked} asks for a target, and target is None")
    return bits


def slots(bits: int, order: tuple[Statistic, ...]) -> Mapping[Statistic, int]:
    """Row of each chosen statistic in the packed output that holds `order`."""
    kept = [statistic for statistic in order if statistic & bits]
    return {statistic: row for row, statistic in enumerate(kept)}


def unpack(floats_FT: torch.Tensor, integers_IT: torch.Tensor, bits: int, shape: torch.Size) -> TokenStats:
    """The packed outputs [F, T] and [I, T] as fields of the given shape."""
    fields: dict[str, torch.Tensor] = {}
    for packed, order in ((floats_FT, FLOATS), (integers_IT, INTEGERS)):
        for statistic, row in slots(bits, order).items():
            values = packed[row].view(shape)
            fields[statistic.name.lower()] = values if statistic in DIFFERENTIABLE else values.detach()
    return TokenStats(**fields)
