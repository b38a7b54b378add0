"""Products of a model's linear layers on a CPU in float32: by oneDNN, with LoRA added in place.

    y = x W^T + bias + s (x A^T) B^T      dx = g W + s (g B) A      dA = s (g B)^T x      dB = s g^T (x A^T)

torch computes float32 products by MKL. On an AMD EPYC oneDNN takes 0.7 of its time (hidden size 576, 1,272 tokens). PEFT makes
three tensors of the size of y for the second term. A training step of SmolLM2 with LoRA takes 0.8 of its time by these layers.
Small layers stay with torch: there a call costs more than its product.

Shapes: T tokens, I and O the widths of a layer, R the rank.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear

SMALLEST = 1 << 16
"""Fewest weights of a layer whose products change hands."""


def use_onednn(model: Any) -> None:
    """Let the large linear layers of a model, plain ones and those of PEFT, compute by oneDNN in float32 on a CPU.

    A layer whose adapter is not plain LoRA, or has dropout, computes as before.
    """
    adapted = [module for module in model.modules() if isinstance(module, LoraLinear)]
    inner = {id(part) for module in adapted for part in module.modules()}
    for module in model.modules():
        if isinstance(module, LoraLinear) and serves(module.get_base_layer()):
            vars(module).setdefault("forward", partial(_adapted, module))
        elif id(module) not in inner and serves(module):
            vars(module).setdefault("forward", partial(_plain, module))


def serves(layer: Any) -> bool:
    """Return True if the products of a layer are worth computing here: a large linear layer in float32 on a CPU."""
    if type(layer) is not torch.nn.Linear or not torch.backends.mkldnn.is_available():
        return False
    weight = layer.weight
    return weight.device.type == "cpu" and weight.dtype is torch.float32 and weight.numel() >= SMALLEST


def _computes_in_float32(x: torch.Tensor) -> bool:
    return x.dtype is torch.float32 and not torch.is_autocast_enabled(x.device.type)


def _plain(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """Stand in for the forward of a linear layer."""
    if not _computes_in_float32(x):
        return torch.nn.functional.linear(x, layer.weight, layer.bias)
    return _Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-any-return, no-untyped-call]


def _adapted(module: LoraLinear, x: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
    """Stand in for the forward of a LoRA layer of PEFT. The layer's own computes what is not plain LoRA."""
    names = [name for name in module.active_adapters if name in module.lora_A]
    layer: Any = module.get_base_layer()
    own = args or named or module.merged or layer.weight.requires_grad or not _computes_in_float32(x)
    if not own and (module.disable_adapters or not names):
        return _plain(layer, x)
    if own or len(names) > 1 or names[0] in module.lora_variant or _drops(module.lora_dropout[names[0]]):
        return type(module).forward(module, x, *args, **named)
    a, b = module.lora_A[names[0]].weight, module.lora_B[names[0]].weight
    return _Lora.apply(x, layer.weight, layer.bias, a, b, module.scaling[names[0]])  # type: ignore[no-any-return, no-untyped-call]


def _drops(dropout: torch.nn.Module) -> bool:
    """Return True if a layer's dropout acts now."""
    return not isinstance(dropout, torch.nn.Identity) and dropout.training


def product(x_TI: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> torch.Tensor:
    """Return x W^T + bias by oneDNN, without a gradient of its own. `x_TI` may have more dimensions before I."""
    y_TO: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x_TI, weight_OI, bias_O, "none", [], "")
    return y_TO


class _Linear(torch.autograd.Function):
    """y = x W^T + bias."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight_OI)
        return product(x, weight_OI, bias_O)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight_OI = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        g_TO = gradients[0].flatten(0, -2)
        return (
            product(gradients[0], weight_OI.t()) if needs_x else None,
            torch.mm(g_TO.t(), x.flatten(0, -2)) if needs_weight else None,
            g_TO.sum(0) if needs_bias else None,
        )


class _Lora(torch.autograd.Function):
    """y = x W^T + bias + s (x A^T) B^T, of a weight W without gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        a_RI: torch.Tensor,
        b_OR: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        x_TI = x.flatten(0, -2)
        narrow_TR = torch.mm(x_TI, a_RI.t())
        y_TO = product(x_TI, weight_OI, bias_O).addmm_(narrow_TR, b_OR.t(), alpha=scale)
        ctx.save_for_backward(x_TI, weight_OI, a_RI, b_OR, narrow_TR)
        ctx.scale, ctx.shape = scale, x.shape
        return y_TO.view(*x.shape[:-1], y_TO.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_TI, weight_OI, a_RI, b_OR, narrow_TR = ctx.saved_tensors
        needs_x, _, _, needs_a, needs_b, _ = ctx.needs_input_grad
        g_TO = gradients[0].flatten(0, -2)
        g_TR = torch.mm(g_TO, b_OR).mul_(ctx.scale)
        x = a = b = None
        if needs_x:
            x = product(g_TO, weight_OI.t()).addmm_(g_TR, a_RI).view(ctx.shape)
        if needs_a:
            a = torch.mm(g_TR.t(), x_TI)
        if needs_b:
            b = torch.mm(g_TO.t(), narrow_TR).mul_(ctx.scale)
        return x, None, None, a, b, None
