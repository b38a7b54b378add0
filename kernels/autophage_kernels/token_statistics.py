"""`token_stats`: statistics of each token from one pass over the logits."""

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
    """Return statistics of the next-token distribution of each row of logits, and of one target token in it.

    Args:
        logits: `[..., V]` over a vocabulary of V tokens, of any floating type and strides. V is at most 2^24. Logits
            are never copied or written.
        target: `[...]` integers, one token for each row. Without it, statistics of a target are left out.
        statistics: names of statistics (`statistics.py` has the formulas). Default: all that can be computed. Each
            costs time.
        temperature: divides the (softcapped) logits. A number, a tensor of one number, or a tensor `[...]`. Statistics
            are NaN if a tensor's temperature is not above 0.
        softcap: c in `c tanh(x / c)`, applied before the temperature, as Gemma does.
        ignore_index: a row with this target has log-prob 0 without a gradient, as in `cross_entropy`. Its mass above
            is 0, its rank and ties are -1. Its other statistics are those of any row.
        batch_invariant: if true, the bits of a row's results depend neither on other rows nor on the row's place.
            Logits must have one type and stride. Costs some speed on short batches.

    Returns:
        `TokenStats`, each field `[...]`. Logprob, lse, entropy and varentropy are differentiable once with respect to
        the logits.

    Undefined values are reported, not repaired:
        - A logit of -inf is a masked token of probability 0. A softcap c makes -c of it, as of any other logit. The
          log-prob of a masked target is -inf.
        - A row that is all -inf has lse -inf. Rank is 1, ties V and argmax 0. The rest is NaN.
        - A row with +inf and no NaN has lse +inf. Rank, ties and argmax are as counted. The rest is NaN.
        - A row with NaN has NaN in every float and -1 in every integer.
        - A target outside 0..V-1 that is not `ignore_index` has NaN for log-prob and mass above, and -1 for rank and
          ties.

    Raises:
        ValueError: a shape, type, device, temperature or softcap does not fit. The message names the given value.
    """
    check_logits(logits, "token_stats", target=target)
    rows, logits_BLV = logits.shape[:-1], as_rows(logits)
    check_target(target, rows, "token_stats", logits=logits)
    heat, cap = as_temperature(temperature, rows, logits.device, "token_stats"), as_softcap(softcap, "token_stats")
    bits = chosen(statistics, with_target=target is not None)
    floats_FT, integers_IT, _ = token_stats_op(
        logits_BLV, as_target(target), heat, cap, ignore_index, bits, batch_invariant
    )
    return unpack(floats_FT, integers_IT, bits, rows)
