"""Per-token statistics in plain torch: the definition that every faster implementation is held to.

For one row of logits z with p = softmax(z) and target t:

    lse        = log sum_v exp z_v                       (natural log)
    logprob    = z_t - lse
    entropy    = -sum_v p_v log p_v                      (nats)
    varentropy =  sum_v p_v (log p_v)^2 - entropy^2      (nats^2)
    max_prob   = exp(max_v z_v - lse)
    argmax     = the lowest v that has the largest z_v
    rank       = 1 + #{v : z_v > z_t}                    (vLLM's convention: the most probable token has rank 1)
    mass_above = sum_{v : z_v > z_t} p_v

Rows are computed in float32 in chunks, so that no second [T, V] tensor exists. Masked tokens (-inf) have probability 0
and contribute 0. Deliberately without backward, temperature and soft-capping.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

CHUNK_ELEMENTS = 1 << 22
"""Logits of one chunk: 16 MiB of float32, which keeps the temporaries in cache reach and memory flat in T."""


@dataclass(frozen=True)
class TokenStats:
    """Statistics of T rows; every field is [T], float32 but for the int64 argmax and rank."""

    logprob: torch.Tensor
    entropy: torch.Tensor
    varentropy: torch.Tensor
    max_prob: torch.Tensor
    argmax: torch.Tensor
    rank: torch.Tensor
    mass_above: torch.Tensor
    lse: torch.Tensor


def token_stats(logits_TV: torch.Tensor, target_T: torch.Tensor) -> TokenStats:
    """Statistics of each row of `logits_TV` [T, V] (any float dtype) at its `target_T` [T] (integer).

    Raises:
        ValueError: shapes, dtypes or devices do not fit; the message names both.
    """
    _check(logits_TV, target_T)
    rows = max(1, CHUNK_ELEMENTS // logits_TV.shape[1])
    chunks = [
        _chunk(logits, target) for logits, target in zip(logits_TV.split(rows), target_T.split(rows), strict=True)
    ]
    return TokenStats(*(torch.cat(column) for column in zip(*chunks, strict=True)))


def _chunk(logits_TV: torch.Tensor, target_T: torch.Tensor) -> tuple[torch.Tensor, ...]:
    z_TV = logits_TV.float()
    target_T1 = target_T.long().unsqueeze(1)
    z_T1 = z_TV.gather(1, target_T1)
    lse_T = torch.logsumexp(z_TV, dim=1)
    log_p_TV = z_TV - lse_T.unsqueeze(1)
    p_TV = log_p_TV.exp()
    # A token with p = 0 has log p = -inf; its terms are 0 by their limit, not NaN.
    log_p_TV = log_p_TV.masked_fill(p_TV == 0, 0.0)
    entropy_T = -(p_TV * log_p_TV).sum(1)
    varentropy_T = (p_TV * (log_p_TV + entropy_T.unsqueeze(1)).square()).sum(1)
    above_TV = z_TV > z_T1
    return (
        (z_T1.squeeze(1) - lse_T).clamp_max(0.0),
        entropy_T.clamp_min(0.0),
        varentropy_T,
        p_TV.amax(1),
        z_TV.argmax(1),
        above_TV.sum(1) + 1,
        (p_TV * above_TV).sum(1),
        lse_T,
    )


def _check(logits_TV: torch.Tensor, target_T: torch.Tensor) -> None:
    shapes = f"logits {tuple(logits_TV.shape)}, target {tuple(target_T.shape)}"
    if logits_TV.ndim != 2 or target_T.ndim != 1 or logits_TV.shape[0] != target_T.shape[0]:
        raise ValueError(f"token_stats needs logits [T, V] and target [T]; got {shapes}")
    if logits_TV.shape[1] == 0:
        raise ValueError(f"token_stats needs a vocabulary; got {shapes}")
    if not logits_TV.is_floating_point() or target_T.is_floating_point():
        raise ValueError(
            f"token_stats needs floating-point logits and integer targets; got {logits_TV.dtype}, {target_T.dtype}"
        )
    if logits_TV.device != target_T.device:
        raise ValueError(f"token_stats needs one device; logits are on {logits_TV.device}, target on {target_T.device}")
