"""One pass over the logits: partial statistics of each row (`partial.py` has the algebra).

Inside the loop over chunks stand only operations on whole chunks; what is one number per row is done once, before or after.
"""

from __future__ import annotations

import torch

from autophage_kernels.partial import FIELDS, Field
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
from autophage_kernels.statistics import OF_TARGET, Statistic

SHORT = 8192
"""Vocabularies below it are searched for their argmax in blocks of 64, others in blocks of 256: maxima of blocks are found by
vector instructions, and only the winning block is searched for its index, one by one."""


def partial_stats(
    logits_BLV: torch.Tensor,
    target_T: torch.Tensor | None,
    target_logit_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    first_column: int,
    statistics: int,
    batch_invariant: bool,
    out_PST: torch.Tensor | None = None,
) -> torch.Tensor:
    """[FIELDS, 1, T]. Fields that `statistics` does not need are left as they are.

    The columns are first_column, ..., first_column + V - 1 of the whole vocabulary. Rank, ties and mass above count against
    `target_logit_T` where it is given (the target may live in another part), else against the row's own value.
    """
    rows, vocabulary = logits_BLV.shape[:2].numel(), logits_BLV.shape[2]
    dtype = work_type(logits_BLV)
    if out_PST is None:
        out_PST = logits_BLV.new_empty(FIELDS, 1, rows, dtype=dtype)
    partial_PT = out_PST[:, 0]
    step = chunk_rows(vocabulary, batch_invariant)
    asks_target = target_T is not None and bool(statistics & OF_TARGET)
    level_T = None
    if asks_target and target_T is not None:
        own_T = _own(logits_BLV, target_T - first_column, dtype)
        level_T = own_T if target_logit_T is None else target_logit_T.to(dtype)
    block_T = torch.zeros(rows, dtype=torch.int64, device=logits_BLV.device)
    buffers = logits_BLV.new_empty(3, min(step, rows), vocabulary, dtype=dtype)
    scale = inverse(temperature, dtype)
    for chunk, logits_RV in row_chunks(logits_BLV, step):
        partial_PR = partial_PT[:, chunk]
        u_RV, e_RV, other_RV = buffers[:, : len(logits_RV)].unbind()
        x_RV = logits_RV.to(dtype)
        peak_R = _peak(x_RV, partial_PR[Field.PEAK], block_T[chunk] if statistics & Statistic.ARGMAX else None)
        _exponentials(x_RV, peak_R, of_rows(scale, chunk), softcap, u_RV, e_RV)
        _sum(e_RV, partial_PR, Field.SUM)
        if statistics & Statistic.RENYI2:
            _sum(torch.mul(e_RV, e_RV, out=other_RV), partial_PR, Field.SQUARE)  # a norm would add up without cascades
        if level_T is not None:
            _compare(x_RV, e_RV, other_RV, level_T[chunk].unsqueeze(1), statistics, partial_PR)
        if statistics & (Statistic.ENTROPY | Statistic.VARENTROPY):
            _sum(e_RV.mul_(u_RV), partial_PR, Field.FIRST)
        if statistics & Statistic.VARENTROPY:
            _sum(e_RV.mul_(u_RV), partial_PR, Field.SECOND)
    if statistics & Statistic.ARGMAX:
        partial_PT[Field.ARGMAX] = _argmax(logits_BLV, block_T, batch_invariant) + first_column
    if level_T is not None:
        _leave_out_target(partial_PT, own_T, level_T, scale, softcap, statistics)
    return out_PST


def split_count(rows: int, vocabulary: int, device: torch.device) -> int:
    """Parts that a row is split into."""
    return 1


def _own(logits_BLV: torch.Tensor, column_T: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The target's logit in each row; NaN, which compares with nothing, where the target is in none of these columns."""
    here_T = (column_T >= 0) & (column_T < logits_BLV.shape[2])
    column_BL1 = torch.where(here_T, column_T, 0).view(*logits_BLV.shape[:2], 1)
    return torch.where(here_T, logits_BLV.gather(2, column_BL1).flatten().to(dtype), torch.nan)


def _peak(x_RV: torch.Tensor, peak_R: torch.Tensor, block_R: torch.Tensor | None) -> torch.Tensor:
    """Largest logit of each row and, if asked, the first block that has it: the last block ends with the last column."""
    vocabulary, width = x_RV.shape[1], _width(x_RV.shape[1])
    blocks = vocabulary // width
    if block_R is None or blocks == 0:
        torch.amax(x_RV, 1, out=peak_R)
        return peak_R
    rest = int(vocabulary % width > 0)
    tops_RK = x_RV.new_empty(len(x_RV), blocks + rest)
    torch.amax(x_RV[:, : blocks * width].unflatten(1, (blocks, width)), 2, out=tops_RK[:, :blocks])
    if rest:
        torch.amax(x_RV[:, blocks * width :], 1, out=tops_RK[:, blocks])
    torch.max(tops_RK, 1, out=(peak_R, block_R))
    return peak_R


def _width(vocabulary: int) -> int:
    return 64 if vocabulary < SHORT else 256


def _argmax(logits_BLV: torch.Tensor, block_T: torch.Tensor, batch_invariant: bool) -> torch.Tensor:
    """The lowest column of the largest logit, found in the block that has it."""
    vocabulary = logits_BLV.shape[2]
    width = min(_width(vocabulary), vocabulary)
    first_T = (block_T * width).clamp_(max=vocabulary - width)
    lane_W = torch.arange(width, device=block_T.device)
    argmax_T = first_T.clone()
    for chunk, logits_RV in row_chunks(logits_BLV, chunk_rows(width, batch_invariant=False)):
        argmax_T[chunk] += logits_RV.gather(1, first_T[chunk, None] + lane_W).argmax(1)
    return argmax_T


def _exponentials(
    x_RV: torch.Tensor,
    peak_R: torch.Tensor,
    scale_R1: torch.Tensor | float,
    softcap: float,
    u_RV: torch.Tensor,
    e_RV: torch.Tensor,
) -> None:
    """u and e^u of every logit."""
    torch.sub(softcapped(x_RV, softcap), shift_of(peak_R, softcap).unsqueeze(1), out=u_RV)
    if not isinstance(scale_R1, float):
        u_RV.mul_(scale_R1)
    torch.exp(u_RV.clamp_(min=FLOOR[u_RV.dtype]), out=e_RV)


def _compare(
    x_RV: torch.Tensor,
    e_RV: torch.Tensor,
    other_RV: torch.Tensor,
    level_R1: torch.Tensor,
    statistics: int,
    partial_PR: torch.Tensor,
) -> None:
    """Counts and mass against the target's logit, the target's own column included."""
    if statistics & (Statistic.RANK | Statistic.MASS_ABOVE):
        _sum(torch.gt(x_RV, level_R1, out=other_RV), partial_PR, Field.ABOVE)
    if statistics & Statistic.MASS_ABOVE:
        _sum(other_RV.mul_(e_RV), partial_PR, Field.MASS)
    if statistics & Statistic.TIES:
        _sum(torch.eq(x_RV, level_R1, out=other_RV), partial_PR, Field.EQUAL)


def _leave_out_target(
    partial_PT: torch.Tensor,
    own_T: torch.Tensor,
    level_T: torch.Tensor,
    scale: torch.Tensor | float,
    softcap: float,
    statistics: int,
) -> None:
    """Takes the target itself out of counts and mass: by its index, whatever its recomputed logit says."""
    partial_PT[Field.OWN] = torch.where(own_T.isnan(), -torch.inf, own_T)
    above_T = own_T > level_T
    if statistics & (Statistic.RANK | Statistic.MASS_ABOVE):
        partial_PT[Field.ABOVE] -= above_T.to(own_T.dtype)
    if statistics & Statistic.MASS_ABOVE:
        u_T = (softcapped(own_T, softcap) - shift_of(partial_PT[Field.PEAK], softcap)) * scale
        mass_T = partial_PT[Field.MASS] - torch.where(above_T, u_T.exp(), 0.0)
        partial_PT[Field.MASS] = mass_T.clamp_(min=0.0)
    if statistics & Statistic.TIES:
        partial_PT[Field.EQUAL] -= (own_T == level_T).to(own_T.dtype)


def _sum(values_RV: torch.Tensor, partial_PR: torch.Tensor, field: Field) -> None:
    torch.sum(values_RV, 1, out=partial_PR[field])
