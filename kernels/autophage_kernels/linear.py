"""`linear_token_stats` and `linear_token_divergence`, from hidden states with the LM head fused in."""

from __future__ import annotations

from collections.abc import Collection

import torch

from autophage_kernels.checks import (
    as_softcap,
    as_target,
    as_temperature,
    check_devices,
    check_head,
    check_target,
    describe,
)
from autophage_kernels.divergences import TokenDivergence, chosen_divergences, unpack_divergences
from autophage_kernels.linear_ops import linear_token_divergence_op, linear_token_stats_op
from autophage_kernels.statistics import TokenStats, chosen, unpack


def linear_token_stats(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    statistics: Collection[str] | None = None,
    temperature: float | torch.Tensor | None = None,
    softcap: float | None = None,
    ignore_index: int = -100,
) -> TokenStats:
    """Return statistics of the next-token distribution of each hidden state, with the LM head fused in.

    The result is `token_stats` of the logits `hidden @ weight^T + bias`. They are never in memory as a whole. Logits
    are float32 products for 16-bit inputs too. The statistics are more exact than those of 16-bit logits.

    Args:
        hidden: `[..., H]`, the output of the model's last norm, of hidden size H.
        weight: `[V, H]`, the LM head of V tokens. It gets a gradient only if it requires one.
        target: `[...]` integers, one token for each hidden state, or None.
        bias: `[V]`, or None.
        statistics, temperature, softcap, ignore_index: as in `token_stats`.

    Returns:
        `TokenStats`. Logprob, lse, entropy and varentropy are differentiable once with respect to hidden,
        weight and bias. NaN and infinite logits are treated as in `token_stats`.

    Raises:
        ValueError: a shape, type or device does not fit. The message names the given value.
    """
    check_head(hidden, weight, bias, "linear_token_stats", target=target)
    rows = hidden.shape[:-1]
    check_target(target, rows, "linear_token_stats", hidden=hidden, weight=weight, bias=bias)
    bits = chosen(statistics, with_target=target is not None)
    floats_FT, integers_IT, _ = linear_token_stats_op(
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        bias,
        as_target(target),
        as_temperature(temperature, rows, hidden.device, "linear_token_stats"),
        as_softcap(softcap, "linear_token_stats"),
        ignore_index,
        bits,
    )
    return unpack(floats_FT, integers_IT, bits, rows)


def linear_token_divergence(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    reference_hidden: torch.Tensor,
    reference_weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    reference_bias: torch.Tensor | None = None,
    *,
    divergences: Collection[str] | None = None,
    temperature: float | torch.Tensor | None = None,
    softcap: float | None = None,
) -> TokenDivergence:
    """Return divergences between the next-token distributions of two models, with both LM heads fused in, in nats.

    The result is `token_divergence` of the logits of each model, `hidden @ weight^T + bias`. They are never in memory
    as a whole. The models may differ in hidden size, not in vocabulary.

    Args:
        hidden, reference_hidden: `[..., H]` and `[..., K]` with the same leading dimensions and hidden sizes H and K.
        weight, reference_weight: `[V, H]` and `[V, K]`, the LM heads of V tokens.
        bias, reference_bias: `[V]`, or None.
        divergences, temperature, softcap: as in `token_divergence`. `jsd` computes every product twice.

    Returns:
        `TokenDivergence`. It is differentiable once with respect to hidden, weight and bias.

    Raises:
        ValueError: a shape, type or device does not fit. The message names the given value.
    """
    caller = "linear_token_divergence"
    check_head(hidden, weight, bias, caller)
    check_head(reference_hidden, reference_weight, reference_bias, f"the reference of {caller}")
    given = {
        "hidden": hidden,
        "weight": weight,
        "reference_hidden": reference_hidden,
        "reference_weight": reference_weight,
    }
    rows = hidden.shape[:-1]
    if reference_hidden.shape[:-1] != rows or reference_weight.shape[0] != weight.shape[0]:
        raise ValueError(f"{caller} needs the same rows and one vocabulary; got {describe(**given)}")
    if reference_hidden.dtype != hidden.dtype:
        types = f"{hidden.dtype} and {reference_hidden.dtype}"
        raise ValueError(f"{caller} needs one type; got {types} ({describe(**given)})")
    check_devices(caller, **given)
    bits = chosen_divergences(divergences)
    values_DT, _ = linear_token_divergence_op(
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        bias,
        reference_hidden.detach().reshape(-1, reference_hidden.shape[-1]),
        reference_weight.detach(),
        None if reference_bias is None else reference_bias.detach(),
        as_temperature(temperature, rows, hidden.device, caller),
        as_softcap(softcap, caller),
        bits,
    )
    return unpack_divergences(values_DT, bits, rows)
