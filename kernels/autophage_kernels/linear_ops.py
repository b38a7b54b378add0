"""The fused heads as `torch.library` custom ops.

`head.py` has the loops over tiles. `reference` and `triton_kernels` have the work on a tile.
"""

from __future__ import annotations

from typing import Any

import torch

from autophage_kernels.backend import operations
from autophage_kernels.divergences import DIVERGENCE_FIELDS, Divergence
from autophage_kernels.head import (
    LinearHead,
    backward_tile,
    backward_tiles,
    forward_tile,
    forward_tiles,
    gradient_type,
    target_logits,
)
from autophage_kernels.ops import coefficients, divergence_coefficients, empty_divergences, empty_outputs, with_mixture
from autophage_kernels.partial import FIELDS
from autophage_kernels.reference.chunks import work_type
from autophage_kernels.statistics import OF_TARGET

Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _of_rows(values: torch.Tensor | None, rows: slice) -> torch.Tensor | None:
    return values if values is None or len(values) == 1 else values[rows]


def _empty_gradients(hidden_TH: torch.Tensor, weight_VH: torch.Tensor, *arguments: Any) -> Gradients:
    """Return the gradients of a backward op with shapes and types but uninitialised.

    The last three arguments tell which are needed. The others are empty.
    """
    needs_hidden, needs_weight, needs_bias = arguments[-3:]
    return (
        torch.empty_like(hidden_TH) if needs_hidden else hidden_TH.new_empty(0),
        torch.empty_like(weight_VH) if needs_weight else weight_VH.new_empty(0),
        weight_VH.new_empty(weight_VH.shape[0] if needs_bias else 0),
    )


def _asked(gradients: Gradients, needs: tuple[bool, bool, bool]) -> tuple[torch.Tensor | None, ...]:
    return tuple(gradient if needed else None for gradient, needed in zip(gradients, needs, strict=True))


@torch.library.custom_op("autophage::linear_token_stats", mutates_args=())
def linear_token_stats_op(
    hidden_TH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    ignore_index: int,
    statistics: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the statistics of an LM head's T rows: F floats `[F, T]`, I integers `[I, T]`, and moments `[MOMENTS, T]`.

    `statistics` is a set of `Statistic` bits. The moments serve the backward op.
    """
    head, serving = LinearHead(hidden_TH, weight_VH, bias_V), operations(hidden_TH)
    shape = forward_tile(head)
    tiles = -(-head.vocabulary // shape[1])
    # A tile of whole rows is split as rows of logits are; of narrower ones, each is one part.
    splits = serving.split_count(head.rows, head.vocabulary, hidden_TH.device) if tiles == 1 else 1
    partial_PST = hidden_TH.new_empty(FIELDS, tiles * splits, head.rows, dtype=work_type(hidden_TH))
    level_T = None
    if target_T is not None and statistics & OF_TARGET and tiles > 1:
        level_T = hidden_TH.new_empty(head.rows, dtype=work_type(hidden_TH))

    def begin(rows: slice, buffer: torch.Tensor) -> None:
        if level_T is not None and target_T is not None:
            level_T[rows] = target_logits(head, target_T, rows, shape[1], buffer)

    def visit(rows: slice, columns: slice, number: int, logits_RC: torch.Tensor) -> None:
        serving.partial_stats(
            logits_RC.unsqueeze(0),
            None if target_T is None else target_T[rows],
            None if level_T is None else level_T[rows],
            _of_rows(temperature, rows),
            softcap,
            columns.start,
            statistics,
            False,
            partial_PST[:, number * splits : (number + 1) * splits, rows],
        )

    forward_tiles(head, shape, visit, begin)
    result: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = serving.merge_stats(
        partial_PST, target_T, temperature, softcap, ignore_index, head.vocabulary, statistics
    )
    return result


@linear_token_stats_op.register_fake
def _(
    hidden_TH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    ignore_index: int,
    statistics: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return empty_outputs(hidden_TH, hidden_TH.shape[0], statistics)


@torch.library.custom_op("autophage::linear_token_stats_backward", mutates_args=())
def linear_token_stats_backward_op(
    hidden_TH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    target_T: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    moments_MT: torch.Tensor,
    coefficients_CT: torch.Tensor,
    needs_hidden: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of a loss to hidden, weight and bias of an LM head, in their types. Unneeded ones are empty.

    `coefficients_CT` are the gradients to the statistics, `moments_MT` those that the forward op returned.
    """
    head, serving = LinearHead(hidden_TH, weight_VH, bias_V), operations(hidden_TH)

    def gradient(rows: slice, columns: slice, logits_RC: torch.Tensor) -> torch.Tensor:
        gradient_1RC: torch.Tensor = serving.stats_gradient(
            logits_RC.unsqueeze(0),
            None if target_T is None else target_T[rows],
            _of_rows(temperature, rows),
            softcap,
            columns.start,
            moments_MT[:, rows].contiguous(),
            coefficients_CT[:, rows].contiguous(),
            gradient_type(head),
        )
        return gradient_1RC.squeeze(0)

    return backward_tiles(head, gradient, needs_hidden, needs_weight, needs_bias)


linear_token_stats_backward_op.register_fake(_empty_gradients)


def _keep_stats(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    hidden_TH, weight_VH, bias_V, target_T, temperature, ctx.softcap, ctx.ignore_index, ctx.statistics = inputs
    ctx.save_for_backward(hidden_TH, weight_VH, bias_V, target_T, temperature, output[2])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _stats_backward(ctx: Any, grad_floats_FT: torch.Tensor | None, *_: Any) -> tuple[torch.Tensor | None, ...]:
    if grad_floats_FT is None:
        return (None,) * 8
    hidden_TH, weight_VH, bias_V, target_T, temperature, moments_MT = ctx.saved_tensors
    needs = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.needs_input_grad[2])
    coefficients_CT = coefficients(grad_floats_FT, target_T, ctx.ignore_index, weight_VH.shape[0], ctx.statistics)
    gradients = linear_token_stats_backward_op(
        hidden_TH, weight_VH, bias_V, target_T, temperature, ctx.softcap, moments_MT, coefficients_CT, *needs
    )
    return (*_asked(gradients, needs), None, None, None, None, None)


linear_token_stats_op.register_autograd(_stats_backward, setup_context=_keep_stats)


@torch.library.custom_op("autophage::linear_token_divergence", mutates_args=())
def linear_token_divergence_op(
    hidden_TH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    reference_hidden_TK: torch.Tensor,
    reference_weight_VK: torch.Tensor,
    reference_bias_V: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return D divergences of two LM heads' T rows, `[D, T]` in nats, and moments `[DIVERGENCE_MOMENTS, T]`.

    `divergences` is a set of `Divergence` bits. The moments serve the backward op.
    """
    head, serving = LinearHead(hidden_TH, weight_VH, bias_V), operations(hidden_TH)
    reference = LinearHead(reference_hidden_TK, reference_weight_VK, reference_bias_V)
    shape = forward_tile(head)
    parts = -(-head.vocabulary // shape[1])
    partial_PST = hidden_TH.new_empty(DIVERGENCE_FIELDS, parts, head.rows, dtype=work_type(hidden_TH))
    buffer = reference.buffer(shape)

    def first(rows: slice, columns: slice, number: int, logits_RC: torch.Tensor) -> None:
        serving.partial_divergence(
            logits_RC.unsqueeze(0),
            reference.tile(rows, columns, buffer).unsqueeze(0),
            _of_rows(temperature, rows),
            softcap,
            divergences,
            False,
            partial_PST[:, number : number + 1, rows],
        )

    forward_tiles(head, shape, first)
    values_DT, moments_MT = serving.merge_divergence(partial_PST, temperature, softcap, divergences)
    if divergences & Divergence.JSD:
        mixture_2T = moments_MT.new_zeros(2, head.rows)

        def second(rows: slice, columns: slice, number: int, logits_RC: torch.Tensor) -> None:
            mixture_2T[:, rows] += serving.mixture_divergence(
                logits_RC.unsqueeze(0),
                reference.tile(rows, columns, buffer).unsqueeze(0),
                _of_rows(temperature, rows),
                softcap,
                moments_MT[:, rows].contiguous(),
                False,
            )

        forward_tiles(head, shape, second)
        with_mixture(values_DT, moments_MT, mixture_2T, divergences)
    return values_DT, moments_MT


@linear_token_divergence_op.register_fake
def _(
    hidden_TH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    reference_hidden_TK: torch.Tensor,
    reference_weight_VK: torch.Tensor,
    reference_bias_V: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    return empty_divergences(hidden_TH, hidden_TH.shape[0], divergences)


@torch.library.custom_op("autophage::linear_token_divergence_backward", mutates_args=())
def linear_token_divergence_backward_op(
    hidden_TH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    reference_hidden_TK: torch.Tensor,
    reference_weight_VK: torch.Tensor,
    reference_bias_V: torch.Tensor | None,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
    moments_MT: torch.Tensor,
    coefficients_CT: torch.Tensor,
    needs_hidden: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of a loss to hidden, weight and bias of the first head. Unneeded ones are empty.

    `coefficients_CT` are the gradients to the divergences, `moments_MT` those that the forward op returned.
    """
    head, serving = LinearHead(hidden_TH, weight_VH, bias_V), operations(hidden_TH)
    reference = LinearHead(reference_hidden_TK, reference_weight_VK, reference_bias_V)
    buffer = reference.buffer(backward_tile(head))

    def gradient(rows: slice, columns: slice, logits_RC: torch.Tensor) -> torch.Tensor:
        gradient_1RC: torch.Tensor = serving.divergence_gradient(
            logits_RC.unsqueeze(0),
            reference.tile(rows, columns, buffer).unsqueeze(0),
            _of_rows(temperature, rows),
            softcap,
            divergences,
            moments_MT[:, rows].contiguous(),
            coefficients_CT[:, rows].contiguous(),
            gradient_type(head),
        )
        return gradient_1RC.squeeze(0)

    return backward_tiles(head, gradient, needs_hidden, needs_weight, needs_bias)


linear_token_divergence_backward_op.register_fake(_empty_gradients)


def _keep_divergence(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    *tensors, ctx.softcap, ctx.divergences = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _divergence_backward(ctx: Any, grad_values_DT: torch.Tensor | None, *_: Any) -> tuple[torch.Tensor | None, ...]:
    if grad_values_DT is None:
        return (None,) * 9
    *tensors, moments_MT = ctx.saved_tensors
    needs = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.needs_input_grad[2])
    coefficients_CT = divergence_coefficients(grad_values_DT, ctx.divergences)
    gradients = linear_token_divergence_backward_op(
        *tensors, ctx.softcap, ctx.divergences, moments_MT, coefficients_CT, *needs
    )
    return (*_asked(gradients, needs), None, None, None, None, None, None)


linear_token_divergence_op.register_autograd(_divergence_backward, setup_context=_keep_divergence)
