"""Adapters folded into the product of their layer during a pass without a gradient.

PEFT adds x A^T B^T s to x W^T: two thin products, a scaling and a sum, over all tokens. On a CPU they take a quarter of a
pass. A folded layer computes x (W + s B A)^T. The sum W + s B A exists for one layer at a time, and W stays as it is. In
float32 the results differ by rounding. In 16 bits the sum would round the adapter away, so nothing is folded there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

from autophage.trainer import onednn

TOKENS_PER_RANK = 8
"""Fewest tokens of a pass, for each rank of an adapter, that repay the product B A."""


@contextmanager
def folded(model: Any, tokens: int) -> Iterator[None]:
    """Fold the live adapter of a PEFT model during the body, a pass over so many `tokens`."""
    from peft.tuners.lora import Linear

    layers: list[Any] = [one for one in model.modules() if type(one) is Linear and _is_foldable(one, tokens)]
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = partial(_product, layer)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward


def _is_foldable(layer: Any, tokens: int) -> bool:
    if layer.disable_adapters or layer.merged or layer.training or len(layer.active_adapters) != 1:
        return False
    (name,) = layer.active_adapters
    if name not in layer.lora_A or name in layer.lora_variant or layer.lora_bias[name]:
        return False
    base = layer.base_layer
    types = {base.weight.dtype, layer.lora_A[name].weight.dtype}
    return type(base) is torch.nn.Linear and types == {torch.float32} and tokens >= TOKENS_PER_RANK * layer.r[name]


def _product(layer: Any, x: torch.Tensor) -> torch.Tensor:
    (name,) = layer.active_adapters
    base, scale = layer.base_layer, layer.scaling[name]
    weight = torch.addmm(base.weight, layer.lora_B[name].weight, layer.lora_A[name].weight, alpha=scale)
    return onednn.product(x, weight, base.bias) if onednn.serves(base) else linear(x, weight, base.bias)
