"""`tail_mass` and `top_k_mass`: how much of the distribution lies in its tail, and in its head. Two passes over the logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from autophage_kernels.checks import as_rows, as_softcap, as_temperature, check_logits
from autophage_kernels.ops import mass_below_op, token_stats_op
from autophage_kernels.partial import MOMENTS, Moment
from autophage_kernels.reference.chunks import inverse, shift_of, softcapped
from autophage_kernels.statistics import Statistic


@torch.no_grad()
def tail_mass(
    logits: torch.Tensor,
    below: float | Sequence[float],
    *,
    temperature: float | torch.Tensor | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Probability that the next token is one whose own probability is less than `below`.

    The bound on a logit is known only when the row has been summed, so the row is read again; a short one is still in the
    cache. No gradient.

    Args:
        logits: [..., V].
        below: a probability in (0, 1], or several.
        temperature, softcap: as in `token_stats`.

    Returns:
        [...] for one bound, [..., N] for N of them. NaN where a row has no distribution.

    Raises:
        ValueError: a bound outside (0, 1], or logits that `token_stats` would refuse.
    """
    bounds = [below] if isinstance(below, int | float) else list(below)
    if not bounds or not all(0 < bound <= 1 for bound in bounds):
        raise ValueError(f"tail_mass needs probabilities in (0, 1]; got {below}")
    check_logits(logits, "tail_mass")
    rows = logits.shape[:-1]
    cap, heat = as_softcap(softcap, "tail_mass"), as_temperature(temperature, rows, logits.device, "tail_mass")
    moments_MT = _moments(as_rows(logits), heat, cap)
    log_bounds_N = torch.cat([moments_MT.new_full((1,), math.log(bound)) for bound in bounds])  # no copy from the host
    mass_TN: torch.Tensor = mass_below_op(as_rows(logits), heat, cap, moments_MT, log_bounds_N).T
    return mass_TN[:, 0].reshape(rows) if isinstance(below, int | float) else mass_TN.reshape(*rows, len(bounds))


@torch.no_grad()
def top_k_mass(
    logits: torch.Tensor,
    k: int | Sequence[int],
    *,
    temperature: float | torch.Tensor | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Probability of the k most probable tokens together, for any k: one pass for the sum, and `torch.topk`. No gradient.

    Args:
        logits: [..., V].
        k: a number of tokens, at least 1 (V and more give 1), or several.
        temperature, softcap: as in `token_stats`.

    Returns:
        [...] for one k, [..., N] for N of them. NaN where a row has no distribution.

    Raises:
        ValueError: k below 1, or logits that `token_stats` would refuse.
    """
    sizes = [k] if isinstance(k, int) else list(k)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"top_k_mass needs k of at least 1; got {k}")
    check_logits(logits, "top_k_mass")
    rows = logits.shape[:-1]
    cap, heat = as_softcap(softcap, "top_k_mass"), as_temperature(temperature, rows, logits.device, "top_k_mass")
    moments_MT = _moments(as_rows(logits), heat, cap).view(MOMENTS, *rows)
    largest = logits.topk(min(max(sizes), logits.shape[-1]), dim=-1).values.to(moments_MT.dtype)
    scale = inverse(heat, moments_MT.dtype)
    if isinstance(scale, torch.Tensor):
        scale = scale.view(*rows, 1) if len(scale) > 1 else scale
    u = (softcapped(largest, cap) - shift_of(moments_MT[Moment.PEAK], cap).unsqueeze(-1)) * scale
    cumulative = (u - moments_MT[Moment.LOG_SUM].unsqueeze(-1)).exp().cumsum(-1).clamp(max=1.0)
    picked = [cumulative[..., min(size, logits.shape[-1]) - 1] for size in sizes]
    if isinstance(k, int):
        return picked[0]
    return torch.stack(picked, -1)


def _moments(logits_BLV: torch.Tensor, temperature: torch.Tensor | None, softcap: float) -> torch.Tensor:
    """[MOMENTS, T], of which peak and log-sum are filled."""
    log_sum = int(Statistic.LOG_SUM)
    moments_MT: torch.Tensor = token_stats_op(logits_BLV, None, temperature, softcap, -100, log_sum, False)[2]
    return moments_MT
