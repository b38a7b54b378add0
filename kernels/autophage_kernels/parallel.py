"""`vocabulary_parallel_token_stats`: statistics of logits whose vocabulary is spread over the processes of a group.

1. the owner of each target gives its logit to all: an all-reduce of [T];
2. every process makes one pass over its own columns;
3. partial results travel: an all-gather of [FIELDS, S, T];
4. every process merges all parts, by the rule that also merges the splits of a long row.

The backward pass needs no communication: a shard's gradient follows from its own logits and the moments of the whole row.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.distributed as dist

from autophage_kernels.backend import operations
from autophage_kernels.checks import as_rows, as_softcap, as_target, as_temperature, check_logits, check_target
from autophage_kernels.ops import coefficients
from autophage_kernels.partial import FIELDS
from autophage_kernels.reference.chunks import work_type
from autophage_kernels.statistics import OF_TARGET, TokenStats, chosen, unpack


def vocabulary_parallel_token_stats(
    logits: torch.Tensor,
    target: torch.Tensor | None = None,
    *,
    first_column: int,
    vocabulary: int,
    group: dist.ProcessGroup | None = None,
    statistics: Collection[str] | None = None,
    temperature: float | torch.Tensor | None = None,
    softcap: float | None = None,
    ignore_index: int = -100,
) -> TokenStats:
    """`token_stats` of the whole vocabulary, from the columns that this process holds; the same result in each process.

    Args:
        logits: [..., C], columns first_column, ..., first_column + C - 1 of the vocabulary. Shards may differ in width, cover
            each column once, and be in any order of ranks.
        target: [...], in the whole vocabulary, the same in every process.
        first_column: where this shard begins.
        vocabulary: columns of all shards together.
        group: the processes; the default group if None.
        statistics, temperature, softcap, ignore_index: as in `token_stats`.

    Returns:
        `TokenStats`; gradients flow to the local logits.

    Raises:
        ValueError: as `token_stats`, or a shard that is not within the vocabulary.
    """
    caller = "vocabulary_parallel_token_stats"
    check_logits(logits, caller, target=target)
    if not 0 <= first_column <= vocabulary - logits.shape[-1]:
        last = first_column + logits.shape[-1]
        raise ValueError(f"{caller}: columns {first_column} to {last} are not within a vocabulary of {vocabulary}")
    rows = logits.shape[:-1]
    check_target(target, rows, caller, logits=logits)
    bits = chosen(statistics, with_target=target is not None)
    floats_FT, integers_IT = _VocabularyParallel.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        as_rows(logits),
        as_target(target),
        as_temperature(temperature, rows, logits.device, caller),
        as_softcap(softcap, caller),
        ignore_index,
        first_column,
        vocabulary,
        bits,
        group,
    )
    return unpack(floats_FT, integers_IT, bits, rows)


def _levels(
    logits_BLV: torch.Tensor, target_T: torch.Tensor, first_column: int, group: dist.ProcessGroup | None
) -> torch.Tensor:
    """The logit of each row's target, wherever it is; -inf for a target outside the vocabulary, which has no rank."""
    local_T = target_T - first_column
    here_T = (local_T >= 0) & (local_T < logits_BLV.shape[2])
    column_BL1 = torch.where(here_T, local_T, 0).view(*logits_BLV.shape[:2], 1)
    own_T = logits_BLV.gather(2, column_BL1).flatten().to(work_type(logits_BLV))
    # A NaN logit would survive no maximum; its row is NaN anyway.
    level_T = torch.where(here_T & ~own_T.isnan(), own_T, -torch.inf)
    dist.all_reduce(level_T, dist.ReduceOp.MAX, group=group)
    return level_T


class _VocabularyParallel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits_BLV: torch.Tensor,
        target_T: torch.Tensor | None,
        temperature: torch.Tensor | None,
        softcap: float,
        ignore_index: int,
        first_column: int,
        vocabulary: int,
        statistics: int,
        group: dist.ProcessGroup | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        serving, world = operations(logits_BLV), dist.get_world_size(group)
        rows = logits_BLV.shape[0] * logits_BLV.shape[1]
        level_T = None
        if target_T is not None and statistics & OF_TARGET:
            level_T = _levels(logits_BLV, target_T, first_column, group)
        # As many splits everywhere, whatever the width of a shard: those that it cannot fill stay empty.
        splits = serving.split_count(rows, -(-vocabulary // world), logits_BLV.device)
        local_PST = logits_BLV.new_empty(FIELDS, splits, rows, dtype=work_type(logits_BLV))
        serving.partial_stats(
            logits_BLV, target_T, level_T, temperature, softcap, first_column, statistics, False, local_PST
        )
        shards = [torch.empty_like(local_PST) for _ in range(world)]
        dist.all_gather(shards, local_PST, group=group)
        floats_FT, integers_IT, moments_MT = serving.merge_stats(
            torch.cat(shards, dim=1), target_T, temperature, softcap, ignore_index, vocabulary, statistics
        )
        ctx.save_for_backward(logits_BLV, target_T, temperature, moments_MT)
        ctx.settings = softcap, ignore_index, first_column, vocabulary, statistics
        ctx.mark_non_differentiable(integers_IT)
        ctx.set_materialize_grads(False)
        return floats_FT, integers_IT

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_floats_FT: torch.Tensor | None, _: Any) -> tuple[torch.Tensor | None, ...]:
        if grad_floats_FT is None:
            return (None,) * 9
        logits_BLV, target_T, temperature, moments_MT = ctx.saved_tensors
        softcap, ignore_index, first_column, vocabulary, statistics = ctx.settings
        coefficients_CT = coefficients(grad_floats_FT, target_T, ignore_index, vocabulary, statistics)
        gradient = operations(logits_BLV).stats_gradient(
            logits_BLV, target_T, temperature, softcap, first_column, moments_MT, coefficients_CT, logits_BLV.dtype
        )
        return gradient, *(None,) * 8
