"""Second pass over the logits: mass of the tokens below a probability."""

from __future__ import annotations

import torch

from autophage_kernels.partial import Moment
from autophage_kernels.reference.chunks import FLOOR, chunk_rows, inverse, of_rows, row_chunks, shift_of, softcapped


def mass_below(
    logits_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    moments_MT: torch.Tensor,
    log_bound: float,
    batch_invariant: bool,
) -> torch.Tensor:
    """Sum of p over the tokens with log p < log_bound, `[T]`."""
    rows, vocabulary = moments_MT.shape[1], logits_BLV.shape[2]
    mass_T = moments_MT.new_empty(rows)
    scale = inverse(temperature, moments_MT.dtype)
    step = chunk_rows(rows, vocabulary, batch_invariant)
    buffers = moments_MT.new_empty(2, min(step, rows), vocabulary)
    for chunk, logits_RV in row_chunks(logits_BLV, step):
        x_RV, (u_RV, below_RV) = logits_RV.to(moments_MT.dtype), buffers[:, : len(logits_RV)].unbind()
        log_sum_R = moments_MT[Moment.LOG_SUM, chunk]
        torch.sub(softcapped(x_RV, softcap), shift_of(moments_MT[Moment.PEAK, chunk], softcap).unsqueeze(1), out=u_RV)
        if not isinstance(scale, float):
            u_RV.mul_(of_rows(scale, chunk))
        u_RV.clamp_(min=FLOOR[u_RV.dtype])
        # A mask of floats is a quarter of the time of one of bools, which torch does not vectorise.
        torch.lt(u_RV, (log_sum_R + log_bound).unsqueeze(1), out=below_RV)
        # The log-sum is NaN where there is no distribution, and so is the mass.
        mass_T[chunk] = u_RV.exp_().mul_(below_RV).sum(1).mul_((-log_sum_R).exp())
    return mass_T
