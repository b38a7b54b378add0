"""Tensors of a point. Kernels differ in the logits that suit them, so there are three kinds.

    normal   independent and standard normal (hidden states and weights such that their product is)
    zipf     as of a language model: probabilities fall as a power of a token's rank, ranks lie at random places, and a few
             tokens stand out by 5 to 14 nats
    ramp     ascending: every block of columns has a new maximum, so that running sums are re-based at every block

Shapes: T rows, V vocabulary, H hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from kernel_bench.points import KernelPoint

EXPONENT = 1.1
"""Of the power law in `zipf`."""
STANDING_OUT = (5.0, 8.0, 11.0, 14.0)
"""Nats added to so many tokens of each row in `zipf`."""
CHUNK_ELEMENTS = 1 << 27
"""Number of float32 values made at a time, before they are rounded to the point's dtype."""
EMPTY = torch.empty(0)


@dataclass
class Inputs:
    """Tensors of one point. A tensor is empty if the task has none of its kind."""

    target: torch.Tensor
    logits: torch.Tensor = EMPTY
    reference: torch.Tensor = EMPTY
    hidden: torch.Tensor = EMPTY
    weight: torch.Tensor = EMPTY
    reference_hidden: torch.Tensor = EMPTY
    reference_weight: torch.Tensor = EMPTY

    @property
    def leaves(self) -> list[torch.Tensor]:
        """Tensors that get a gradient."""
        return [tensor for tensor in (self.logits, self.hidden, self.weight) if tensor.requires_grad]

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(value.nbytes for value in vars(self).values())


def make(point: KernelPoint, device: torch.device, seed: int = 0) -> Inputs:
    """Inputs of a point. Leaves require a gradient unless it is a forward pass."""
    generator = torch.Generator(device).manual_seed(seed)
    target_T = torch.randint(point.vocabulary, (point.rows,), generator=generator, device=device)
    inputs = Inputs(target_T)
    if point.hidden:
        inputs.hidden, inputs.weight = head(point, target_T, generator)
        if point.task == "heads":
            inputs.reference_hidden, inputs.reference_weight = head(point, target_T, generator)
    else:
        inputs.logits = logits(point, generator)
        if point.task == "pair":
            inputs.reference = logits(point, generator)
    if point.direction != "forward":
        for leaf in (inputs.logits, inputs.hidden, inputs.weight):
            if leaf.numel():
                leaf.requires_grad_()
    return inputs


def logits(point: KernelPoint, generator: torch.Generator) -> torch.Tensor:
    """[T, V] of the point's dtype."""
    device = generator.device
    out_TV = torch.empty(point.rows, point.vocabulary, dtype=point.torch_dtype, device=device)
    for part_RV in out_TV.split(max(1, CHUNK_ELEMENTS // point.vocabulary)):
        if point.data == "normal":
            part_RV.copy_(torch.randn(part_RV.shape, generator=generator, device=device))
        elif point.data == "ramp":
            part_RV.copy_(torch.linspace(-10, 10, point.vocabulary, device=device))
        else:
            rank_RV = torch.rand(part_RV.shape, generator=generator, device=device).mul_(point.vocabulary).add_(1)
            peaks_RK = torch.randint(
                point.vocabulary, (len(part_RV), len(STANDING_OUT)), generator=generator, device=device
            )
            part_RV.copy_(rank_RV.log_().mul_(-EXPONENT))
            raised_RK = part_RV.gather(1, peaks_RK) + torch.tensor(STANDING_OUT, device=device, dtype=part_RV.dtype)
            part_RV.scatter_(1, peaks_RK, raised_RK)
    return out_TV


def head(point: KernelPoint, target_T: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states `[T, H]` and weight `[V, H]` whose product is standard normal.

    In `zipf` the first hidden dimension carries the power law of the vocabulary. Each hidden state leans towards its target's
    weight.
    """
    device = generator.device
    hidden_TH = torch.randn(point.rows, point.hidden, generator=generator, device=device)
    weight_VH = torch.randn(point.vocabulary, point.hidden, generator=generator, device=device)
    weight_VH.div_(math.sqrt(point.hidden))
    if point.data == "zipf":
        rank_V = torch.randperm(point.vocabulary, generator=generator, device=device) + 1
        hidden_TH += STANDING_OUT[-1] * weight_VH[target_T]
        weight_VH[:, 0], hidden_TH[:, 0] = -EXPONENT * rank_V.log(), 1.0
    return hidden_TH.to(point.torch_dtype), weight_VH.to(point.torch_dtype)
