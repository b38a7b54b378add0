"""`token_stats`: everything that one pass over the logits can tell about each token."""

from __future__ import annotations

from collections.abc import Collection

import torch

from autophage_kernels.checks import as_rows, as_softcap, as_target, as_temperature, check_logits, check_target
from autophage_kernels.ops import token_stats_op
from autophage_kernels.statistics import TokenStats, chosen, unpack


def token_stats(
    logits: torch.Tensor,
    target: torch.Tensor | None = None,
    *,
    statistics: Collection[str] | None = None,
    temperature: float | torch.Tensor | None = None,
    softcap: float | None = None,
    ignore_index: int = -100,
    batch_invariant: bool = False,
) -> TokenStats:
    """Statistics of the next-token distribution of each row of logits, and of one target token in it.

    Args:
        logits: [..., V] of any floating type, any strides; read once, never copied or written. V up to 2^24.
        target: [...] integers, the token that each row is asked about; None leaves out what asks for one.
        statistics: names of `TokenStats` fields to compute; all that can be told, if None. Each costs a little.
        temperature: divides the (softcapped) logits; a number, or a tensor with one for all rows or one for each [...].
            A row whose temperature is not above 0 has NaN statistics.
        softcap: c in c tanh(x / c), applied before the temperature, as Gemma does.
        ignore_index: rows with this target have log-prob 0 (with no gradient), mass above 0, rank -1 and ties -1, as in
            `cross_entropy` with `reduction="none"`. Their other statistics are those of any row.
        batch_invariant: the result of a row has the same bits whatever other rows there are and wherever it stands
            (among logits of one type and stride); costs some speed on short batches.

    Returns:
        `TokenStats` in float32 (float64 for float64 logits) and int64, each field [...]. `statistics.py` has the formulas.
        Differentiable once with respect to the logits: logprob, lse, entropy, varentropy.

    Where a row has no distribution, values say so instead of being repaired:
        - a logit of -inf is a masked token: probability 0 (under a softcap c, which makes -c of it, as any other logit). A target
          there has log-prob -inf.
        - a row that is all -inf: lse and max_logit -inf; rank, ties and argmax as counted (1, V, 0); every other NaN.
        - a row with +inf (and no NaN): lse and max_logit +inf; rank, ties and argmax as counted; every other NaN.
        - a row with NaN: NaN in every float, -1 in every integer.
        - a target outside 0..V-1 that is not `ignore_index`: log-prob and mass above NaN, rank and ties -1.

    Raises:
        ValueError: shapes, types or devices do not fit; the message names what was given.
    """
    check_logits(logits, "token_stats", target=target)
    rows = logits.shape[:-1]
    check_target(target, rows, "token_stats", logits=logits)
    bits = chosen(statistics, with_target=target is not None)
    floats_FT, integers_IT, _ = token_stats_op(
        as_rows(logits),
        as_target(target),
        as_temperature(temperature, rows, logits.device, "token_stats"),
        as_softcap(softcap, "token_stats"),
        ignore_index,
        bits,
        batch_invariant,
    )
    return unpack(floats_FT, integers_IT, bits, rows)
