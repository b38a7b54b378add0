"""`token_divergence`: divergences between two next-token distributions, token by token."""

from __future__ import annotations

from collections.abc import Collection

import torch

from autophage_kernels.checks import as_rows, as_softcap, as_temperature, check_logits, describe
from autophage_kernels.divergences import TokenDivergence, chosen_divergences, unpack_divergences
from autophage_kernels.ops import token_divergence_op


def token_divergence(
    logits: torch.Tensor,
    reference: torch.Tensor,
    *,
    divergences: Collection[str] | None = None,
    temperature: float | torch.Tensor | None = None,
    softcap: float | None = None,
    batch_invariant: bool = False,
) -> TokenDivergence:
    """Return divergences between `p = softmax(logits)` and `q = softmax(reference)` for each row, in nats.

    Args:
        logits: `[..., V]` over a vocabulary of V tokens, of any floating type and strides.
        reference: logits of the other distribution, of the same shape and type.
        divergences: names of `TokenDivergence` fields (`divergences.py` has the formulas). Default: all but `jsd`,
            which takes a second pass.
        temperature: divides both (softcapped) logits. A number, a tensor of one number, or a tensor `[...]`.
        softcap: c in `c tanh(x / c)`, applied to both logits before the temperature.
        batch_invariant: if true, the bits of a row's results do not depend on other rows.

    Returns:
        `TokenDivergence`. It is differentiable once with respect to the first logits.

    Equal logits give exactly 0. Otherwise the absolute error is about 1e-6, for smaller divergences too. A token with
    p > 0 and q = 0 makes kl and cross_entropy +inf and their gradient NaN. A token with p = q = 0 adds nothing. A row
    is NaN if either distribution is undefined (all -inf, +inf, or NaN).

    Raises:
        ValueError: a shape, type or device does not fit. The message names the given value.
    """
    check_logits(logits, "token_divergence", reference=reference)
    if logits.shape != reference.shape:
        raise ValueError(
            f"token_divergence needs two logits of one shape; got {describe(logits=logits, reference=reference)}"
        )
    if logits.dtype != reference.dtype:
        types = f"{logits.dtype} and {reference.dtype}"
        raise ValueError(
            f"token_divergence needs one type; got {types} ({describe(logits=logits, reference=reference)})"
        )
    rows = logits.shape[:-1]
    bits = chosen_divergences(divergences)
    values_DT, _ = token_divergence_op(
        as_rows(logits),
        as_rows(reference).detach(),
        as_temperature(temperature, rows, logits.device, "token_divergence"),
        as_softcap(softcap, "token_divergence"),
        bits,
        batch_invariant,
    )
    return unpack_divergences(values_DT, bits, rows)
