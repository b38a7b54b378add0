"""The training loss of each token: cross-entropy, truncation, distillation, and the divergence of an anchor.

`recipe/tables/anchor.py` has the formulas. All terms are exact over the whole vocabulary, through the fused heads of
both models. Only the live model has a gradient. The caller sums and divides: this module knows no batches,
micro-batches or steps.

Shapes: T trained tokens, X the width of a head's rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from autophage.recipe.tables.anchor import AnchorTable
from autophage.trainer.head import LanguageHead

WATCHED = ("logprob", "entropy", "varentropy", "rank")
Columns = tuple[torch.Tensor, ...]
"""Values of each trained token without a gradient, one tensor [T] per quantity.

The quantities are `WATCHED`, the divergence from the reference, and 1 for a withheld loss. A value that does not apply
is NaN.
"""


class Losses(NamedTuple):
    """The loss of each trained token, [T] with its gradient, and the watched values."""

    loss: torch.Tensor
    columns: Columns


class Referred(NamedTuple):
    """The head of the reference model, and its rows [T, X] for the same tokens."""

    head: LanguageHead
    rows: torch.Tensor


def token_losses(
    anchor: AnchorTable,
    head: LanguageHead,
    rows_TX: torch.Tensor,
    target_T: torch.Tensor,
    synthetic_T: torch.Tensor,
    referred: Referred | None,
) -> Losses:
    """Return the loss (nats) and the watched values of each trained token under a recipe's `[anchor]`.

    Args:
        rows_TX: Rows of `head` that predict the tokens.
        target_T: Ids of the trained tokens.
        synthetic_T: True for tokens of a document that a model wrote.
        referred: The reference. Without it `anchor` adds no divergence and no distillation.
    """
    stats = head.stats(rows_TX, target_T, WATCHED)
    assert stats.logprob is not None
    loss_T, logprob_T = -stats.logprob, stats.logprob.detach()
    nothing_T = torch.full_like(logprob_T, math.nan)
    divergence_T = nothing_T
    withheld_T = torch.zeros_like(target_T, dtype=torch.bool)
    if anchor.truncate is not None:
        withheld_T = logprob_T > math.log(anchor.truncate)
        loss_T = loss_T.masked_fill(withheld_T, 0.0)
    distills = anchor.distills and referred is not None
    if referred is not None:
        # The kernel's first distribution is the model's, so its kl is what a recipe calls reverse.
        direction = "reverse_kl" if anchor.kl > 0 and anchor.direction == "forward" else "kl"
        wanted = {direction, "kl"} if anchor.distills else {direction}
        found = head.divergence(rows_TX, referred.head, referred.rows, wanted)
        if anchor.distills:
            assert found.kl is not None
            unreliable_T, kept_T = _reliance(anchor, logprob_T, target_T, referred)
            loss_T = torch.where(synthetic_T, found.kl * kept_T, loss_T)
            withheld_T = torch.where(synthetic_T, unreliable_T, withheld_T)
        held_T: torch.Tensor = getattr(found, direction)
        if anchor.kl > 0:
            loss_T = loss_T + anchor.kl * held_T
        divergence_T = held_T.detach()
    withholds = anchor.truncate is not None or (distills and anchor.trust is not None)
    watched = (getattr(stats, name).detach() for name in WATCHED)
    return Losses(loss_T, (*watched, divergence_T, withheld_T.to(logprob_T.dtype) if withholds else nothing_T))


def _reliance(
    anchor: AnchorTable, logprob_T: torch.Tensor, target_T: torch.Tensor, referred: Referred
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two values per token: True if the reference is unreliable, and the kept share of the distillation loss."""
    if anchor.trust is None:
        return torch.zeros_like(target_T, dtype=torch.bool), torch.ones_like(logprob_T)
    theirs_T = referred.head.stats(referred.rows, target_T, ("logprob",)).logprob
    assert theirs_T is not None
    ratio_T = logprob_T - theirs_T
    unreliable_T = ratio_T > anchor.trust
    beyond_T = torch.zeros_like(ratio_T) if anchor.outliers == "mask" else anchor.trust / ratio_T
    return unreliable_T, torch.where(unreliable_T, beyond_T, 1.0)
