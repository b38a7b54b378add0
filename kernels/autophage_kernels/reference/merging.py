"""Merge of a row's partial statistics into its statistics (`partial.py` has the algebra).

Few numbers per row are left, so the work is float64 for every type of logits.
"""

from __future__ import annotations

import torch

from autophage_kernels.partial import Field
from autophage_kernels.reference.chunks import FLOOR, inverse, shift_of, softcapped
from autophage_kernels.statistics import FLOATS, INTEGERS, OF_TARGET, Statistic, slots

ROUNDING = 1e-5
"""A log-prob may exceed 0 by this much through rounding and becomes 0. More is a wrong sum and becomes NaN."""


def merge_stats(
    partial_PST: torch.Tensor,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    ignore_index: int,
    vocabulary: int,
    statistics: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Merge the parts of T rows. Return F float statistics `[F, T]`, I int64 ones `[I, T]`, and moments `[MOMENTS, T]`.

    `statistics` is a set of `Statistic` bits. Targets are columns of the whole vocabulary, of `vocabulary` tokens.
    """
    scale = inverse(temperature, torch.float64)
    part = _whole(partial_PST.double(), scale, softcap, statistics)
    # NaN where there is no distribution: a row that is all -inf, has +inf, or has NaN. It spreads to what is made of it.
    sum_T = part[Field.SUM]
    log_sum_T = torch.where((sum_T > 0) & (sum_T < torch.inf), sum_T, torch.nan).log()
    results = _of_distribution(part, log_sum_T, scale, softcap, statistics)
    if target_T is not None and statistics & OF_TARGET:
        results |= _of_target(part, log_sum_T, target_T, scale, softcap, ignore_index, vocabulary)
    floats = [results[statistic] for statistic in slots(statistics, FLOATS)]
    integers = [results[statistic] for statistic in slots(statistics, INTEGERS)]
    dtype, rows = partial_PST.dtype, partial_PST.shape[2]
    moments = [part[Field.PEAK], log_sum_T, results[Statistic.ENTROPY], results[Statistic.VARENTROPY]]
    return (
        torch.stack(floats).to(dtype) if floats else partial_PST.new_empty(0, rows),
        torch.stack(integers).long() if integers else partial_PST.new_empty(0, rows, dtype=torch.int64),
        torch.stack(moments).to(dtype),
    )


def _whole(
    part_PST: torch.Tensor, scale: torch.Tensor | float, softcap: float, statistics: int
) -> dict[Field, torch.Tensor]:
    """Return the fields that `statistics` need, each `[T]`, re-based to the row's peak and summed over its parts."""
    if part_PST.shape[1] == 1:
        return dict(zip(Field, part_PST[:, 0], strict=True))
    peak_ST, s_ST, t_ST = part_PST[Field.PEAK], part_PST[Field.SUM], part_PST[Field.FIRST]
    peak_T = peak_ST.amax(0)
    d_ST = (shift_of(peak_ST, softcap) - shift_of(peak_T, softcap)) * scale
    if not softcap:  # a part that is all -inf has no sum to re-base; a softcap makes numbers of -inf too
        d_ST = torch.where(peak_ST == -torch.inf, 0.0, d_ST)
    d_ST = d_ST.clamp(FLOOR[torch.float64], 0.0)
    a_ST = d_ST.exp()
    whole = {Field.PEAK: peak_T, Field.SUM: (a_ST * s_ST).sum(0), Field.OWN: part_PST[Field.OWN].amax(0)}
    if statistics & (Statistic.ENTROPY | Statistic.VARENTROPY):
        whole[Field.FIRST] = (a_ST * (t_ST + d_ST * s_ST)).sum(0)
    if statistics & Statistic.VARENTROPY:
        whole[Field.SECOND] = (a_ST * (part_PST[Field.SECOND] + d_ST * (2 * t_ST + d_ST * s_ST))).sum(0)
    if statistics & Statistic.RENYI2:
        whole[Field.SQUARE] = (a_ST.square() * part_PST[Field.SQUARE]).sum(0)
    if statistics & Statistic.ARGMAX:
        whole[Field.ARGMAX] = torch.where(peak_ST == peak_T, part_PST[Field.ARGMAX], torch.inf).amin(0)
    whole[Field.MASS] = (a_ST * part_PST[Field.MASS]).sum(0)
    for counted in (Field.ABOVE, Field.EQUAL):
        whole[counted] = part_PST[counted].sum(0)
    return whole


def _of_distribution(
    part: dict[Field, torch.Tensor],
    log_sum_T: torch.Tensor,
    scale: torch.Tensor | float,
    softcap: float,
    statistics: int,
) -> dict[Statistic, torch.Tensor]:
    """Return the statistics of T rows that need no target, each `[T]`.

    Entropy and varentropy are always there, and 0 if not asked for.
    """
    peak_T, sum_T = part[Field.PEAK], part[Field.SUM]
    finite_T = torch.where(log_sum_T.isnan(), torch.nan, sum_T)
    results = dict.fromkeys((Statistic.ENTROPY, Statistic.VARENTROPY), torch.zeros_like(sum_T))
    if statistics & (Statistic.ENTROPY | Statistic.VARENTROPY):
        mean_T = part[Field.FIRST] / finite_T
        results[Statistic.ENTROPY] = (log_sum_T - mean_T).clamp_(min=0.0)
    if statistics & Statistic.VARENTROPY:
        results[Statistic.VARENTROPY] = (part[Field.SECOND] / finite_T - mean_T.square()).clamp_(min=0.0)
    if statistics & Statistic.RENYI2:
        results[Statistic.RENYI2] = (2 * log_sum_T - part[Field.SQUARE].log()).clamp_(min=0.0)
    if statistics & Statistic.LSE:
        lse_T = shift_of(peak_T, softcap) * scale + log_sum_T
        empty_T = torch.where(sum_T == 0, -torch.inf, sum_T)  # -inf, +inf and NaN speak for themselves
        results[Statistic.LSE] = torch.where(finite_T.isnan(), empty_T, lse_T)
    if statistics & Statistic.MAX_PROB:
        results[Statistic.MAX_PROB] = finite_T.reciprocal()
    if statistics & Statistic.ARGMAX:
        results[Statistic.ARGMAX] = torch.where(sum_T.isnan(), -1.0, part[Field.ARGMAX])
    return results


def _of_target(
    part: dict[Field, torch.Tensor],
    log_sum_T: torch.Tensor,
    target_T: torch.Tensor,
    scale: torch.Tensor | float,
    softcap: float,
    ignore_index: int,
    vocabulary: int,
) -> dict[Statistic, torch.Tensor]:
    """Return the statistics of the target token of T rows, each `[T]`.

    An ignored target has 0 for log-prob and for mass above. A target outside the vocabulary has NaN for both. Rank
    and ties are then -1.
    """
    ignored_T = target_T == ignore_index
    outside_T = (target_T < 0) | (target_T >= vocabulary)
    logprob_T = (softcapped(part[Field.OWN], softcap) - shift_of(part[Field.PEAK], softcap)) * scale - log_sum_T
    logprob_T = torch.where(outside_T | (logprob_T > ROUNDING), torch.nan, logprob_T.clamp(max=0.0))
    mass_T = torch.where(outside_T, torch.nan, part[Field.MASS])
    unranked_T = ignored_T | outside_T | part[Field.SUM].isnan()
    return {
        Statistic.LOGPROB: torch.where(ignored_T, 0.0, logprob_T),
        Statistic.MASS_ABOVE: torch.where(ignored_T, 0.0, mass_T * (-log_sum_T).exp()),
        Statistic.RANK: torch.where(unranked_T, -1.0, part[Field.ABOVE] + 1),
        Statistic.TIES: torch.where(unranked_T, -1.0, part[Field.EQUAL] + 1),
    }
