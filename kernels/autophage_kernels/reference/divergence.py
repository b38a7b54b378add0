"""Divergences of two distributions in torch (`divergences.py` has the algebra)."""

from __future__ import annotations

import math

import torch

from autophage_kernels.divergences import (
    DIVERGENCE_FIELDS,
    Divergence,
    DivergenceField,
    DivergenceMoment,
    divergence_slots,
)
from autophage_kernels.divergences import DivergenceCoefficient as Coefficient
from autophage_kernels.reference.chunks import (
    chunk_rows,
    inverse,
    of_rows,
    paired_chunks,
    shift_of,
    softcapped,
    work_type,
)

LOWEST = -1e30
"""Finite stand-in for log 0. 0 * LOWEST is 0, and LOWEST - LOWEST is no NaN."""


def partial_divergence(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
    batch_invariant: bool,
    out_PST: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the partial sums of the divergences for T rows of two logits, `[DIVERGENCE_FIELDS, 1, T]`.

    Fields that `divergences` does not need are 0. `out_PST` is filled if it is given.
    """
    rows, vocabulary = logits_BLV.shape[:2].numel(), logits_BLV.shape[2]
    dtype = work_type(logits_BLV)
    if out_PST is None:
        out_PST = logits_BLV.new_empty(DIVERGENCE_FIELDS, 1, rows, dtype=dtype)
    scale = inverse(temperature, dtype)
    step = chunk_rows(rows, vocabulary, batch_invariant)
    for chunk, (x_RV, y_RV) in paired_chunks((logits_BLV, reference_BLV), step):
        out_PR = out_PST[:, 0, chunk]
        scale_R1 = of_rows(scale, chunk)
        x_peak_R, y_peak_R = x_RV.amax(1).to(dtype), y_RV.amax(1).to(dtype)
        u_RV = _exponents(x_RV, x_peak_R, scale_R1, softcap)
        w_RV = _exponents(y_RV, y_peak_R, scale_R1, softcap)
        p_RV, q_RV, gap_RV = u_RV.exp(), w_RV.exp(), u_RV - w_RV
        out_PR[DivergenceField.PEAK], out_PR[DivergenceField.REFERENCE_PEAK] = x_peak_R, y_peak_R
        out_PR[DivergenceField.SUM], out_PR[DivergenceField.REFERENCE_SUM] = p_RV.sum(1), q_RV.sum(1)
        out_PR[DivergenceField.FORBIDDEN] = 0.0 if softcap else _forbidden(x_RV, y_RV)
        if divergences == Divergence.KL:
            out_PR[DivergenceField.GAP] = p_RV.mul_(gap_RV).sum(1)
            for field in (DivergenceField.REFERENCE_GAP, DivergenceField.FIRST, DivergenceField.REFERENCE_FIRST):
                out_PR[field] = 0.0
            continue
        out_PR[DivergenceField.GAP] = (p_RV * gap_RV).sum(1)
        out_PR[DivergenceField.REFERENCE_GAP] = (q_RV * gap_RV).sum(1)
        out_PR[DivergenceField.FIRST] = p_RV.mul_(u_RV).sum(1)
        out_PR[DivergenceField.REFERENCE_FIRST] = q_RV.mul_(w_RV).sum(1)
    return out_PST


def _forbidden(x_RV: torch.Tensor, y_RV: torch.Tensor) -> torch.Tensor | float:
    """Mark rows in which one distribution excludes what the other allows: 1 the reference, 2 the first, 3 both."""
    if not x_RV.numel() or bool(torch.minimum(x_RV.amin(), y_RV.amin()) > -torch.inf):  # NaN is not above
        return 0.0
    no_p_RV, no_q_RV = x_RV == -torch.inf, y_RV == -torch.inf
    return (no_q_RV & ~no_p_RV).any(1).to(x_RV.dtype) + 2 * (no_p_RV & ~no_q_RV).any(1).to(x_RV.dtype)


def _exponents(
    x_RV: torch.Tensor, peak_R: torch.Tensor, scale_R1: torch.Tensor | float, softcap: float
) -> torch.Tensor:
    u_RV = softcapped(x_RV.to(peak_R.dtype), softcap) - shift_of(peak_R, softcap).unsqueeze(1)
    if not isinstance(scale_R1, float):  # no temperature is a factor of 1
        u_RV.mul_(scale_R1)
    return u_RV.clamp_(min=LOWEST)


def merge_divergence(
    partial_PST: torch.Tensor, temperature: torch.Tensor | None, softcap: float, divergences: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the parts of T rows. Return D divergences `[D, T]` in nats, and moments `[DIVERGENCE_MOMENTS, T]`.

    `divergences` is a set of `Divergence` bits. The value of jsd is a placeholder until the second pass.
    """
    scale = inverse(temperature, torch.float64)
    part = dict(zip(DivergenceField, partial_PST.double(), strict=True))
    x_ST, y_ST = part[DivergenceField.PEAK], part[DivergenceField.REFERENCE_PEAK]
    peak_T, reference_peak_T = x_ST.amax(0), y_ST.amax(0)
    dx_ST, dy_ST = _rebase(x_ST, peak_T, scale, softcap), _rebase(y_ST, reference_peak_T, scale, softcap)
    s_ST, r_ST = part[DivergenceField.SUM], part[DivergenceField.REFERENCE_SUM]
    a_ST, b_ST = dx_ST.exp(), dy_ST.exp()
    sum_T, reference_sum_T = (a_ST * s_ST).sum(0), (b_ST * r_ST).sum(0)
    defined_T = (sum_T > 0) & (sum_T < torch.inf) & (reference_sum_T > 0) & (reference_sum_T < torch.inf)
    log_sum_T = torch.where(defined_T, sum_T, torch.nan).log()
    reference_log_sum_T = torch.where(defined_T, reference_sum_T, torch.nan).log()
    shift_ST = dx_ST - dy_ST
    gap_T = (a_ST * (part[DivergenceField.GAP] + shift_ST * s_ST)).sum(0) / sum_T
    reference_gap_T = (b_ST * (part[DivergenceField.REFERENCE_GAP] + shift_ST * r_ST)).sum(0) / reference_sum_T
    first_T = (a_ST * (part[DivergenceField.FIRST] + dx_ST * s_ST)).sum(0) / sum_T
    reference_first_T = (b_ST * (part[DivergenceField.REFERENCE_FIRST] + dy_ST * r_ST)).sum(0) / reference_sum_T
    forbidden_ST = part[DivergenceField.FORBIDDEN].long()
    kl_T = _or_infinite((gap_T - log_sum_T + reference_log_sum_T).clamp(min=0.0), (forbidden_ST & 1).any(0), defined_T)
    reverse_T = _or_infinite(
        (log_sum_T - reference_log_sum_T - reference_gap_T).clamp(min=0.0), (forbidden_ST & 2).any(0), defined_T
    )
    entropy_T = (log_sum_T - first_T).clamp(min=0.0)
    values = {
        Divergence.KL: kl_T,
        Divergence.REVERSE_KL: reverse_T,
        Divergence.CROSS_ENTROPY: kl_T + entropy_T,
        Divergence.ENTROPY: entropy_T,
        Divergence.REFERENCE_ENTROPY: (reference_log_sum_T - reference_first_T).clamp(min=0.0),
        Divergence.JSD: torch.zeros_like(kl_T),
    }
    moments = (peak_T, log_sum_T, reference_peak_T, reference_log_sum_T, entropy_T, kl_T, torch.zeros_like(kl_T))
    dtype = partial_PST.dtype
    return torch.stack([values[kept] for kept in divergence_slots(divergences)]).to(dtype), torch.stack(moments).to(
        dtype
    )


def _rebase(peak_ST: torch.Tensor, peak_T: torch.Tensor, scale: torch.Tensor | float, softcap: float) -> torch.Tensor:
    """Return the exponents that re-base parts from their peaks `[S, T]` to the rows' peaks `[T]`.

    They are never above 0. They lack the usual floor, because a part with a vanishing sum may hold mass of the other
    distribution.
    """
    d_ST = (shift_of(peak_ST, softcap) - shift_of(peak_T, softcap)) * scale
    if not softcap:
        d_ST = torch.where(peak_ST == -torch.inf, 0.0, d_ST)
    return d_ST.clamp(LOWEST, 0.0)


def _or_infinite(value_T: torch.Tensor, forbidden_T: torch.Tensor, defined_T: torch.Tensor) -> torch.Tensor:
    return torch.where(defined_T, torch.where(forbidden_T, torch.inf, value_T), torch.nan)


def mixture_divergence(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    moments_MT: torch.Tensor,
    batch_invariant: bool,
) -> torch.Tensor:
    """Return `KL(p || m)` and `KL(q || m)` of T rows in nats, `[2, T]`, with the mixture `m = (p + q) / 2`.

    This second pass reads the moments of the first, `[DIVERGENCE_MOMENTS, T]`.
    """
    out_2T = moments_MT.new_empty(2, moments_MT.shape[1])
    scale = inverse(temperature, moments_MT.dtype)
    step = chunk_rows(moments_MT.shape[1], logits_BLV.shape[2], batch_invariant)
    for chunk, (x_RV, y_RV) in paired_chunks((logits_BLV, reference_BLV), step):
        log_p_RV, log_q_RV = _log_probs(x_RV, y_RV, moments_MT[:, chunk], of_rows(scale, chunk), softcap)
        log_m_RV = _log_mixture(log_p_RV, log_q_RV)
        out_2T[0, chunk] = (log_p_RV.exp() * (log_p_RV - log_m_RV)).sum(1)
        out_2T[1, chunk] = (log_q_RV.exp() * (log_q_RV - log_m_RV)).sum(1)
    return out_2T


def _log_probs(
    x_RV: torch.Tensor, y_RV: torch.Tensor, m_MR: torch.Tensor, scale_R1: torch.Tensor | float, softcap: float
) -> tuple[torch.Tensor, torch.Tensor]:
    u_RV = _exponents(x_RV, m_MR[DivergenceMoment.PEAK], scale_R1, softcap)
    w_RV = _exponents(y_RV, m_MR[DivergenceMoment.REFERENCE_PEAK], scale_R1, softcap)
    return (
        u_RV.sub_(m_MR[DivergenceMoment.LOG_SUM].unsqueeze(1)),
        w_RV.sub_(m_MR[DivergenceMoment.REFERENCE_LOG_SUM].unsqueeze(1)),
    )


def _log_mixture(log_p_RV: torch.Tensor, log_q_RV: torch.Tensor) -> torch.Tensor:
    gap_RV = (log_p_RV - log_q_RV).abs_().neg_()
    return torch.maximum(log_p_RV, log_q_RV) + gap_RV.exp_().log1p_().sub_(math.log(2))  # exactly log p where p = q


def divergence_gradient(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
    moments_MT: torch.Tensor,
    coefficients_CT: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return the gradient of a loss to the first logits, `[B, L, V]` of `dtype`, contiguous.

    `coefficients_CT` are the gradients g to the divergences. The gradient of an infinite divergence is NaN.

        dz = p [g_kl (log p - log q - kl) - g_ce (log q + H(p, q)) - g_h (log p + H(p))
                + g_jsd (log p - log m - KL(p || m)) / 2]
             + g_reverse (p - q)
    """
    outer, inner, vocabulary = logits_BLV.shape
    gradient_TV = logits_BLV.new_empty(outer * inner, vocabulary, dtype=dtype)
    scale = inverse(temperature, moments_MT.dtype)
    step = chunk_rows(outer * inner, vocabulary, batch_invariant=False)
    for chunk, (x_RV, y_RV) in paired_chunks((logits_BLV, reference_BLV), step):
        m_MR, scale_R1 = moments_MT[:, chunk], of_rows(scale, chunk)
        g = dict(zip(Coefficient, coefficients_CT[:, chunk].unsqueeze(-1), strict=True))
        log_p_RV, log_q_RV = _log_probs(x_RV, y_RV, m_MR, scale_R1, softcap)
        p_RV = log_p_RV.exp()
        entropy_R1, kl_R1 = m_MR[DivergenceMoment.ENTROPY].unsqueeze(1), m_MR[DivergenceMoment.KL].unsqueeze(1)
        asked_R1 = (g[Coefficient.KL] != 0) | (g[Coefficient.CROSS_ENTROPY] != 0)
        kl_R1 = torch.where(asked_R1, kl_R1, 0.0)  # an infinite divergence that is not used must not reach the others
        dz_RV = g[Coefficient.KL] * (log_p_RV - log_q_RV - kl_R1)
        dz_RV -= g[Coefficient.CROSS_ENTROPY] * (log_q_RV + (kl_R1 + entropy_R1))
        dz_RV -= g[Coefficient.ENTROPY] * (log_p_RV + entropy_R1)
        if divergences & Divergence.JSD:
            to_mixture_R1 = m_MR[DivergenceMoment.TO_MIXTURE].unsqueeze(1)
            dz_RV += 0.5 * g[Coefficient.JSD] * (log_p_RV - _log_mixture(log_p_RV, log_q_RV) - to_mixture_R1)
        dz_RV = p_RV * (dz_RV + g[Coefficient.REVERSE_KL]) - g[Coefficient.REVERSE_KL] * log_q_RV.exp()
        if softcap:
            dz_RV *= 1 - torch.tanh(x_RV.to(dz_RV.dtype) / softcap).square()
        unused_R1 = (coefficients_CT[:, chunk] == 0).all(0).unsqueeze(1)
        gradient_TV[chunk] = (dz_RV * scale_R1).masked_fill_(unused_R1, 0.0)  # such a row may hold NaN
    return gradient_TV.view(outer, inner, vocabulary)
