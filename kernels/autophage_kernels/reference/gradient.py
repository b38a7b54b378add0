"""Gradient of log-prob, lse, entropy and varentropy with respect to the logits, in one pass.

z are the transformed logits, and g is one incoming gradient per statistic. With a_v = log p_v + entropy, or 0 if p_v = 0:

    dz_v = p_v (k0 + k1 a_v + k2 a_v^2) + g_logprob 1[v = t]
    k0 = g_lse - g_logprob - g_varentropy varentropy      k1 = 2 g_varentropy - g_entropy      k2 = g_varentropy
    dx_v = dz_v (1 - tanh(x_v / softcap)^2) / temperature

The true-class term is added before anything is rounded to the type of the result.
"""

from __future__ import annotations

import torch

from autophage_kernels.partial import Coefficient, Moment
from autophage_kernels.reference.chunks import (
    FLOOR,
    chunk_rows,
    inverse,
    of_rows,
    row_chunks,
    shift_of,
    softcapped,
    work_type,
)


def stats_gradient(
    logits_BLV: torch.Tensor,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    first_column: int,
    moments_MT: torch.Tensor,
    coefficients_CT: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return the gradient of a loss to the logits, `[B, L, V]` of `dtype`, contiguous.

    `coefficients_CT` are the gradients to log-prob, lse, entropy and varentropy. The logits are columns of the
    vocabulary from `first_column` on. A target in another part adds no true-class term. The caller has set the
    log-prob's coefficient to 0 if the target is ignored or outside the vocabulary.
    """
    outer, inner, vocabulary = logits_BLV.shape
    gradient_TV = logits_BLV.new_empty(outer * inner, vocabulary, dtype=dtype)
    work = work_type(logits_BLV)
    scale = inverse(temperature, work)
    for chunk, logits_RV in row_chunks(logits_BLV, chunk_rows(outer * inner, vocabulary, batch_invariant=False)):
        m_MR1 = moments_MT[:, chunk].to(work).unsqueeze(-1)
        g_CR1 = coefficients_CT[:, chunk].to(work).unsqueeze(-1)
        scale_R1 = of_rows(scale, chunk)
        x_RV = logits_RV.to(work)
        y_RV = softcapped(x_RV, softcap)
        u_RV = (y_RV - shift_of(m_MR1[Moment.PEAK], softcap)) * scale_R1
        log_p_RV = u_RV.clamp_(min=FLOOR[work]).sub_(m_MR1[Moment.LOG_SUM])
        p_RV = log_p_RV.exp()
        a_RV = log_p_RV.add_(m_MR1[Moment.ENTROPY])
        k2 = g_CR1[Coefficient.VARENTROPY]
        k1 = 2 * k2 - g_CR1[Coefficient.ENTROPY]
        k0 = g_CR1[Coefficient.LSE] - g_CR1[Coefficient.LOGPROB] - k2 * m_MR1[Moment.VARENTROPY]
        dz_RV = a_RV.mul(k2).add_(k1).mul_(a_RV).add_(k0).mul_(p_RV)
        if target_T is not None:
            local_R1 = target_T[chunk].long().unsqueeze(1) - first_column
            here_R1 = (local_R1 >= 0) & (local_R1 < vocabulary)
            true_class_R1 = torch.where(here_R1, g_CR1[Coefficient.LOGPROB], 0.0)
            dz_RV.scatter_add_(1, torch.where(here_R1, local_R1, 0), true_class_R1)
        if softcap:
            dz_RV.mul_(1 - (y_RV / softcap).square())
        unused_R1 = (g_CR1 == 0).all(0)
        # A row without incoming gradients may hold NaN.
        gradient_TV[chunk] = dz_RV.mul_(scale_R1).masked_fill_(unused_R1, 0.0)
    return gradient_TV.view(outer, inner, vocabulary)
