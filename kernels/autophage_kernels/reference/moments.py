"""First pass over the logits: partial statistics of each row (`partial.py` has the algebra).

The loop over chunks holds operations on whole chunks only. Work on one number per row comes before or after it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from autophage_kernels.partial import FIELDS, Field
from autophage_kernels.reference.chunks import (
    FLOOR,
    chunk_elements,
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
"""Vocabulary size that decides the search for an argmax: blocks of 64 columns below it, of 256 from it on.

Vector instructions find the maxima of blocks. Only the winning block is searched for an index, element by element.
"""


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
    """Return the partial statistics of T rows in S parts, `[FIELDS, S, T]`. A part is a range of columns.

    Fields that `statistics` does not need are left uninitialised. `out_PST` is filled if it is given. The logits are
    columns of the whole vocabulary from `first_column` on. Rank, ties and mass above count against `target_logit_T`
    if it is given, as the target may lie in another part. Otherwise they count against the row's own value.
    """
    rows, vocabulary = logits_BLV.shape[:2].numel(), logits_BLV.shape[2]
    dtype = work_type(logits_BLV)
    if out_PST is None:
        parts = 1 if batch_invariant else split_count(rows, vocabulary, logits_BLV.device)
        out_PST = logits_BLV.new_empty(FIELDS, parts, rows, dtype=dtype)
    own_T = level_T = None
    if target_T is not None and statistics & OF_TARGET:
        own_T = _own(logits_BLV, target_T - first_column, dtype)
        level_T = own_T if target_logit_T is None else target_logit_T.to(dtype)
    parts = out_PST.shape[1]
    width = -(-vocabulary // parts)
    blocks_ST = torch.zeros(parts, rows, dtype=torch.int64, device=logits_BLV.device)
    task = _Pass(inverse(temperature, dtype), softcap, statistics, level_T, out_PST, blocks_ST)
    step = chunk_rows(rows * parts, width, batch_invariant)
    slabs = [logits_BLV[..., part * width : (part + 1) * width] for part in range(parts)]
    buffers = logits_BLV.new_empty(3, min(step, rows), width, dtype=dtype)
    for part, slab in enumerate(slabs):
        for chunk, logits_RV in row_chunks(slab, step):
            task.visit(part, chunk, logits_RV.to(dtype), buffers)
    if statistics & Statistic.ARGMAX:
        for part, slab in enumerate(slabs):
            argmax_T = _argmax(slab, blocks_ST[part], batch_invariant) if slab.shape[2] else 0
            out_PST[Field.ARGMAX, part] = argmax_T + (first_column + part * width)
    if own_T is not None and level_T is not None and target_T is not None:
        part_1T = (target_T - first_column).div(width, rounding_mode="floor").clamp_(0, parts - 1).unsqueeze(0)
        _leave_out_target(out_PST, part_1T, own_T, level_T, task.scale, softcap, statistics)
    return out_PST


def split_count(rows: int, vocabulary: int, device: torch.device) -> int:
    """Return the number of column ranges into which each of `rows` rows is split, so that a range fits in a chunk."""
    return -(-vocabulary // chunk_elements(rows * vocabulary))


class _Pass(NamedTuple):
    """Arguments and outputs that all chunks of a first pass over the logits share."""

    scale: torch.Tensor | float
    softcap: float
    statistics: int
    level: torch.Tensor | None  # [T]
    out: torch.Tensor  # [FIELDS, S, T]
    blocks: torch.Tensor  # [S, T], where each row's largest logit is

    def visit(self, part: int, chunk: slice, x_RV: torch.Tensor, buffers: torch.Tensor) -> None:
        """Write the fields that `statistics` need for the logits `[R, V]` of one chunk and part to `self.out`.

        `_leave_out_target` and `_argmax` correct some afterwards. `buffers` are overwritten.
        """
        statistics = self.statistics
        partial_PR = self.out[:, part, chunk]
        if not x_RV.shape[1]:
            partial_PR.zero_()
            partial_PR[Field.PEAK] = -torch.inf
            return
        u_RV, e_RV, other_RV = buffers[:, : x_RV.shape[0], : x_RV.shape[1]].unbind()
        block_R = self.blocks[part, chunk] if statistics & Statistic.ARGMAX else None
        peak_R = _peak(x_RV, partial_PR[Field.PEAK], block_R)
        _exponentials(x_RV, peak_R, of_rows(self.scale, chunk), self.softcap, u_RV, e_RV)
        _sum(e_RV, partial_PR, Field.SUM)
        if statistics & Statistic.RENYI2:
            _sum(torch.mul(e_RV, e_RV, out=other_RV), partial_PR, Field.SQUARE)  # a norm would add up without cascades
        if self.level is not None:
            _compare(x_RV, e_RV, other_RV, self.level[chunk].unsqueeze(1), statistics, partial_PR)
        if statistics & (Statistic.ENTROPY | Statistic.VARENTROPY):
            _sum(e_RV.mul_(u_RV), partial_PR, Field.FIRST)
        if statistics & Statistic.VARENTROPY:
            _sum(e_RV.mul_(u_RV), partial_PR, Field.SECOND)


def _own(logits_BLV: torch.Tensor, column_T: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the logit at the target's column of each of T rows, `[T]`.

    It is NaN, which compares with nothing, if the target is in none of these columns.
    """
    here_T = (column_T >= 0) & (column_T < logits_BLV.shape[2])
    column_BL1 = torch.where(here_T, column_T, 0).view(*logits_BLV.shape[:2], 1)
    return torch.where(here_T, logits_BLV.gather(2, column_BL1).flatten().to(dtype), torch.nan)


def _peak(x_RV: torch.Tensor, peak_R: torch.Tensor, block_R: torch.Tensor | None) -> torch.Tensor:
    """Write the largest logit of each row to `peak_R` and return it. The first block that holds it goes to `block_R`.

    No block is searched if `block_R` is None. The last block may be shorter.
    """
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
    """Return the lowest column of each row's largest logit, `[T]`, searched in the block `block_T` that holds it."""
    vocabulary = logits_BLV.shape[2]
    width = min(_width(vocabulary), vocabulary)
    first_T = (block_T * width).clamp_(max=vocabulary - width)
    lane_W = torch.arange(width, device=block_T.device)
    argmax_T = first_T.clone()
    for chunk, logits_RV in row_chunks(logits_BLV, chunk_rows(len(block_T), width, batch_invariant=False)):
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
    """Write u to `u_RV` and e^u to `e_RV` for every logit.

    u is the softcapped logit minus that of the row's peak, divided by the temperature.
    """
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
    """Write to `partial_PR` the number and mass of logits above `level_R1`, and the number of logits equal to it.

    Only those that `statistics` need are written. The level is the target's logit. The target's own column is
    included. `other_RV` is overwritten.
    """
    if statistics & (Statistic.RANK | Statistic.MASS_ABOVE):
        _sum(torch.gt(x_RV, level_R1, out=other_RV), partial_PR, Field.ABOVE)
    if statistics & Statistic.MASS_ABOVE:
        _sum(other_RV.mul_(e_RV), partial_PR, Field.MASS)
    if statistics & Statistic.TIES:
        _sum(torch.eq(x_RV, level_R1, out=other_RV), partial_PR, Field.EQUAL)


def _leave_out_target(
    out_PST: torch.Tensor,
    part_1T: torch.Tensor,
    own_T: torch.Tensor,
    level_T: torch.Tensor,
    scale: torch.Tensor | float,
    softcap: float,
    statistics: int,
) -> None:
    """Write the target's logit to `out_PST`, and subtract the target itself from the counts and mass of its part.

    It is found by index, as its logit may be recomputed.
    """
    out_PST[Field.OWN] = -torch.inf
    out_PST[Field.OWN].scatter_(0, part_1T, torch.where(own_T.isnan(), -torch.inf, own_T).unsqueeze(0))
    above_T = own_T > level_T
    if statistics & (Statistic.RANK | Statistic.MASS_ABOVE):
        out_PST[Field.ABOVE].scatter_add_(0, part_1T, -above_T.to(own_T.dtype).unsqueeze(0))
    if statistics & Statistic.MASS_ABOVE:
        peak_T = out_PST[Field.PEAK].gather(0, part_1T).squeeze(0)
        u_T = (softcapped(own_T, softcap) - shift_of(peak_T, softcap)) * scale
        out_PST[Field.MASS].scatter_add_(0, part_1T, -torch.where(above_T, u_T.exp(), 0.0).unsqueeze(0))
        out_PST[Field.MASS].clamp_(min=0.0)
    if statistics & Statistic.TIES:
        out_PST[Field.EQUAL].scatter_add_(0, part_1T, -(own_T == level_T).to(own_T.dtype).unsqueeze(0))


def _sum(values_RV: torch.Tensor, partial_PR: torch.Tensor, field: Field) -> None:
    torch.sum(values_RV, 1, out=partial_PR[field])
