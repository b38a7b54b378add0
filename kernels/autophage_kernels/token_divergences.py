"""`token_divergence`: how far one next-token distribution is from another, token by token, in one pass over both."""

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
    """Divergences between p = softmax(logits) and q = softmax(reference), row by row, in nats.

    Args:
        logits: [..., V] of any floating type, any strides.
        reference: logits of the other distribution, of the same shape and type.
        divergences: names of `TokenDivergence` fields; all but `jsd`, which takes a second pass, if None.
        temperature: divides both (softcapped) logits; a number, or a tensor with one for all rows or one for each [...].
        softcap: c in c tanh(x / c), applied to both before the temperature.
        batch_invariant: the result of a row has the same bits whatever other rows there are.

    Returns:
        `TokenDivergence`; `divergences.py` has the formulas. Differentiable once with respect to the first logits.

    Equal logits give exactly 0. Otherwise the absolute error is about 1e-6, also of divergences smaller than that. A token that
    p gives something to and q nothing (-inf) makes kl and cross_entropy +inf, and their gradient NaN; one that neither gives
    anything to adds nothing. A row without a distribution (all -inf, +inf or NaN in either) is NaN.

    Raises:
        ValueError: shapes, types or devices do not fit; the message names what was given.
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
