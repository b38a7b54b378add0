"""The matrix products of a model: one for each linear layer, with their FLOPs and bytes.

    forward of T tokens:  2 * inputs * outputs * rows       input gradient and weight gradient: the same number each

These products are the part of a model that no implementation can leave out. Attention, norms and activations are not counted.
The list comes from the modules of a model, loaded or on the meta device. Adapters are not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

EXPERTS_A_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k")
"""Names in configurations for the number of experts that compute a token."""


@dataclass(frozen=True)
class Product:
    """The linear layers of a model that share a name and a shape."""

    name: str
    """Path of the module without the numbers of its layers."""
    inputs: int
    outputs: int
    count: int
    """Number of layers. A layer of experts counts once."""
    experts: int = 1
    """Weights of each layer. A token is multiplied with `chosen` of them."""
    chosen: int = 1
    head: bool = False
    """True for the LM head, which computes other positions than the layers."""

    def flops(self, rows: int) -> int:
        """Return the FLOPs of one pass of `rows` tokens: forward, input gradient or weight gradient."""
        return 2 * self.inputs * self.outputs * self.count * self.chosen * rows

    def calls(self, rows: int) -> tuple[int, int]:
        """Return the products that `rows` tokens need, and the rows of each. Experts are taken to be chosen evenly."""
        if self.experts == 1:
            return self.count, rows
        pairs = rows * self.chosen
        active = min(self.experts, pairs)
        return self.count * active, -(-pairs // active)

    def elements(self, rows: int) -> int:
        """Return the number of weights that a pass of `rows` tokens reads."""
        return self.calls(rows)[0] * self.inputs * self.outputs


def products_of(model: Any) -> list[Product]:
    """Return the matrix products of a causal language model of transformers, in the order of its modules."""
    head = model.get_output_embeddings()
    chosen = _experts_a_token(model.config.get_text_config())
    found: dict[tuple[Any, ...], Product] = {}
    for path, module in model.named_modules():
        if "lora_" in path:
            continue
        for part, inputs, outputs, experts in _weights(module):
            name = re.sub(r"\.\d+(?=\.|$)", "", f"{path}.{part}" if part else path)
            key = (name, inputs, outputs, experts)
            own = Product(name, inputs, outputs, 0, experts, min(chosen, experts), module is head)
            before = found.get(key, own)
            found[key] = replace(before, count=before.count + 1)
    return list(found.values())


def products_at(path: str) -> list[Product]:
    """Return the matrix products of the model in a folder, from its configuration alone."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    with torch.device("meta"):
        return products_of(AutoModelForCausalLM.from_config(config))


def flops(products: Sequence[Product], rows: int, head_rows: int) -> int:
    """Return the FLOPs of one pass: `rows` tokens through the layers, `head_rows` of them through the head."""
    return sum(one.flops(head_rows if one.head else rows) for one in products)


def elements(products: Sequence[Product], rows: int, head_rows: int) -> int:
    """Return the number of weights that one pass reads."""
    return sum(one.elements(head_rows if one.head else rows) for one in products)


def _weights(module: torch.nn.Module) -> Iterator[tuple[str, int, int, int]]:
    """Yield name, inputs, outputs and number of experts of each weight that a module multiplies tokens with."""
    if isinstance(module, torch.nn.Linear):
        yield "", module.in_features, module.out_features, 1
        return
    if type(module).__name__ == "Conv1D":  # GPT-2's linear layer has its weight transposed
        inputs, outputs = getattr(module, "weight").shape  # noqa: B009  (typed as tensor or module)
        yield "", int(inputs), int(outputs), 1
        return
    for name, weight in module.named_parameters(recurse=False):
        if weight.ndim == 3:  # all experts of a layer in one tensor
            experts, outputs, inputs = map(int, weight.shape)
            yield name, inputs, outputs, experts
        elif weight.ndim == 2 and "Router" in type(module).__name__:
            outputs, inputs = map(int, weight.shape)
            yield name, inputs, outputs, 1


def _experts_a_token(config: Any) -> int:
    return next((int(getattr(config, name)) for name in EXPERTS_A_TOKEN if getattr(config, name, None)), 1)
