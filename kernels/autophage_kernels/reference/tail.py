"""Second pass over the logits: the mass of the tokens that are less probable than a bound."""

from __future__ import annotations

import torch

from autophage_kernels.partial import Moment
from autophage_kernels.reference.chunks import FLOOR, chunk_rows, inverse, of_rows, row_chunks, shift_of, softcapped


def mass_below(
    logits_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    moments_MT: torch.Tensor,
    log_bounds_N: torch.Tensor,
) -> torch.Tensor:
    """[N, T], sum of p over the tokens with log p < log_bounds_N[n]."""
    mass_NT = moments_MT.new_empty(len(log_bounds_N), moments_MT.shape[1])
    scale = inverse(temperature, moments_MT.dtype)
    for chunk, logits_RV in row_chunks(
        logits_BLV, chunk_rows(moments_MT.shape[1], logits_BLV.shape[2], batch_invariant=False)
    ):
        peak_R, log_sum_R = moments_MT[Moment.PEAK, chunk], moments_MT[Moment.LOG_SUM, chunk]
        u_RV = softcapped(logits_RV.to(moments_MT.dtype), softcap) - shift_of(peak_R, softcap).unsqueeze(1)
        log_p_RV = u_RV.mul_(of_rows(scale, chunk)).clamp_(min=FLOOR[u_RV.dtype]).sub_(log_sum_R.unsqueeze(1))
        p_RV = log_p_RV.exp()
        for n, bound in enumerate(log_bounds_N):
            # Not (p >= bound): where there is no distribution, p is NaN and so is the mass.
            mass_NT[n, chunk] = p_RV.masked_fill(log_p_RV >= bound, 0.0).sum(1)
    return mass_NT
