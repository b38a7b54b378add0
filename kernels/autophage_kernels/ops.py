"""The operations as `torch.library` custom ops. Compilers do not look inside, so that no graph breaks.

The ops are `autophage::token_stats`, `autophage::token_divergence` and their backwards. Each dispatches to Triton or torch by the
device of its tensors. A private tensor carries the moments from forward to backward. A caller who changes statistics in place
cannot change a gradient.
"""

from __future__ import annotations

from typing import Any

import torch

from autophage_kernels.backend import operations
from autophage_kernels.divergences import (
    DIVERGENCE_COEFFICIENTS,
    DIVERGENCE_MOMENTS,
    Divergence,
    DivergenceCoefficient,
    DivergenceMoment,
    divergence_slots,
)
from autophage_kernels.partial import COEFFICIENTS, MOMENTS, Coefficient
from autophage_kernels.reference.chunks import work_type
from autophage_kernels.statistics import DIFFERENTIABLE, FLOATS, INTEGERS, slots


@torch.library.custom_op("autophage::token_stats", mutates_args=())
def token_stats_op(
    logits_BLV: torch.Tensor,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    ignore_index: int,
    statistics: int,
    batch_invariant: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the statistics of T rows of logits: F floats `[F, T]`, I integers `[I, T]`, and moments `[MOMENTS, T]`.

    `statistics` is a set of `Statistic` bits. The moments serve the backward op.
    """
    serving = operations(logits_BLV)
    partial_PST = serving.partial_stats(
        logits_BLV, target_T, None, temperature, softcap, 0, statistics, batch_invariant
    )
    result: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = serving.merge_stats(
        partial_PST, target_T, temperature, softcap, ignore_index, logits_BLV.shape[2], statistics
    )
    return result


@token_stats_op.register_fake
def _(
    logits_BLV: torch.Tensor,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    ignore_index: int,
    statistics: int,
    batch_invariant: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return empty_outputs(logits_BLV, logits_BLV.shape[0] * logits_BLV.shape[1], statistics)


@torch.library.custom_op("autophage::token_stats_backward", mutates_args=())
def token_stats_backward_op(
    logits_BLV: torch.Tensor,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    moments_MT: torch.Tensor,
    coefficients_CT: torch.Tensor,
) -> torch.Tensor:
    """Return the gradient of a loss to the logits, contiguous and in their type.

    `coefficients_CT` are the gradients to the statistics, `moments_MT` those that the forward op returned.
    """
    gradient: torch.Tensor = operations(logits_BLV).stats_gradient(
        logits_BLV, target_T, temperature, softcap, 0, moments_MT, coefficients_CT, logits_BLV.dtype
    )
    return gradient


def _like_logits(logits_BLV: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(logits_BLV, memory_format=torch.contiguous_format)


token_stats_backward_op.register_fake(_like_logits)


def empty_outputs(like: torch.Tensor, rows: Any, statistics: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the outputs of a statistics op for `rows` rows, with shapes and types but uninitialised."""
    dtype = work_type(like)
    return (
        like.new_empty(len(slots(statistics, FLOATS)), rows, dtype=dtype),
        like.new_empty(len(slots(statistics, INTEGERS)), rows, dtype=torch.int64),
        like.new_empty(MOMENTS, rows, dtype=dtype),
    )


def coefficients(
    grad_floats_FT: torch.Tensor, target_T: torch.Tensor | None, ignore_index: int, vocabulary: int, statistics: int
) -> torch.Tensor:
    """Return the gradients of a loss to the differentiable statistics of T rows, `[COEFFICIENTS, T]`.

    They come from the gradients to the packed floats, `[F, T]`. Statistics that were not asked for have 0. So has the
    log-prob of a target that is ignored or outside the vocabulary.
    """
    place = slots(statistics, FLOATS)
    coefficients_CT = grad_floats_FT.new_zeros(COEFFICIENTS, grad_floats_FT.shape[1])
    for statistic in DIFFERENTIABLE:
        if statistic in place:
            coefficients_CT[Coefficient[str(statistic.name)]] = grad_floats_FT[place[statistic]]
    if target_T is not None:
        counts_T = (target_T != ignore_index) & (target_T >= 0) & (target_T < vocabulary)
        coefficients_CT[Coefficient.LOGPROB].mul_(counts_T)
    return coefficients_CT


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    logits_BLV, target_T, temperature, ctx.softcap, ctx.ignore_index, ctx.statistics, _ = inputs
    _, integers_IT, moments_MT = output
    ctx.save_for_backward(logits_BLV, target_T, temperature, moments_MT)
    ctx.mark_non_differentiable(integers_IT, moments_MT)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_floats_FT: torch.Tensor | None, *_: Any) -> tuple[torch.Tensor | None, ...]:
    if grad_floats_FT is None:
        return (None,) * 7
    logits_BLV, target_T, temperature, moments_MT = ctx.saved_tensors
    coefficients_CT = coefficients(grad_floats_FT, target_T, ctx.ignore_index, logits_BLV.shape[2], ctx.statistics)
    gradient = token_stats_backward_op(logits_BLV, target_T, temperature, ctx.softcap, moments_MT, coefficients_CT)
    return gradient, None, None, None, None, None, None


token_stats_op.register_autograd(_backward, setup_context=_keep)


@torch.library.custom_op("autophage::token_divergence", mutates_args=())
def token_divergence_op(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
    batch_invariant: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return D divergences of T rows of two logits, `[D, T]` in nats, and moments `[DIVERGENCE_MOMENTS, T]`.

    `divergences` is a set of `Divergence` bits. The moments serve the backward op.
    """
    serving = operations(logits_BLV)
    pair = (logits_BLV, reference_BLV, temperature, softcap)
    values_DT, moments_MT = serving.merge_divergence(
        serving.partial_divergence(*pair, divergences, batch_invariant), temperature, softcap, divergences
    )
    if divergences & Divergence.JSD:
        with_mixture(values_DT, moments_MT, serving.mixture_divergence(*pair, moments_MT, batch_invariant), divergences)
    return values_DT, moments_MT


@token_divergence_op.register_fake
def _(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
    batch_invariant: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    return empty_divergences(logits_BLV, logits_BLV.shape[0] * logits_BLV.shape[1], divergences)


@torch.library.custom_op("autophage::token_divergence_backward", mutates_args=())
def token_divergence_backward_op(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
    moments_MT: torch.Tensor,
    coefficients_CT: torch.Tensor,
) -> torch.Tensor:
    """Return the gradient of a loss to the first logits, contiguous and in their type.

    `coefficients_CT` are the gradients to the divergences, `moments_MT` those that the forward op returned.
    """
    gradient: torch.Tensor = operations(logits_BLV).divergence_gradient(
        logits_BLV, reference_BLV, temperature, softcap, divergences, moments_MT, coefficients_CT, logits_BLV.dtype
    )
    return gradient


token_divergence_backward_op.register_fake(_like_logits)


def with_mixture(values_DT: torch.Tensor, moments_MT: torch.Tensor, mixture_2T: torch.Tensor, divergences: int) -> None:
    """Write jsd to the packed divergences `[D, T]`, and KL(p || m) to the moments `[DIVERGENCE_MOMENTS, T]`.

    `mixture_2T` holds KL(p || m) and KL(q || m) of T rows, with the mixture m = (p + q) / 2.
    """
    values_DT[divergence_slots(divergences)[Divergence.JSD]] = mixture_2T.mean(0).clamp_(min=0.0)
    moments_MT[DivergenceMoment.TO_MIXTURE] = mixture_2T[0]


def empty_divergences(like: torch.Tensor, rows: Any, divergences: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs of a divergence op for `rows` rows, with shapes and types but uninitialised."""
    dtype = work_type(like)
    return (
        like.new_empty(len(divergence_slots(divergences)), rows, dtype=dtype),
        like.new_empty(DIVERGENCE_MOMENTS, rows, dtype=dtype),
    )


def divergence_coefficients(grad_values_DT: torch.Tensor, divergences: int) -> torch.Tensor:
    """Return the gradients of a loss to the divergences of T rows, `[DIVERGENCE_COEFFICIENTS, T]`.

    They come from the gradients to the packed divergences, `[D, T]`. Divergences that were not asked for have 0.
    """
    coefficients_CT = grad_values_DT.new_zeros(DIVERGENCE_COEFFICIENTS, grad_values_DT.shape[1])
    for divergence, row in divergence_slots(divergences).items():
        if divergence != Divergence.REFERENCE_ENTROPY:
            coefficients_CT[DivergenceCoefficient[divergence.name]] = grad_values_DT[row]
    return coefficients_CT


def _keep_divergence(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    logits_BLV, reference_BLV, temperature, ctx.softcap, ctx.divergences, _ = inputs
    ctx.save_for_backward(logits_BLV, reference_BLV, temperature, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _divergence_backward(ctx: Any, grad_values_DT: torch.Tensor | None, *_: Any) -> tuple[torch.Tensor | None, ...]:
    if grad_values_DT is None:
        return (None,) * 6
    logits_BLV, reference_BLV, temperature, moments_MT = ctx.saved_tensors
    gradient = token_divergence_backward_op(
        logits_BLV,
        reference_BLV,
        temperature,
        ctx.softcap,
        ctx.divergences,
        moments_MT,
        divergence_coefficients(grad_values_DT, ctx.divergences),
    )
    return gradient, None, None, None, None, None


token_divergence_op.register_autograd(_divergence_backward, setup_context=_keep_divergence)
