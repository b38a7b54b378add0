"""Float64 truth of a few rows, and the distance of a contender's outputs from it.

The distance shows that a peer was called as its authors meant it. It also shows the cost of rounding a product to 16 bits.
Outputs that are one number for the whole batch are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from kernel_bench.inputs import Inputs

ROWS = 8
COLUMNS = 16_384
"""Of a weight that are widened to float64 at a time."""


@torch.no_grad()
def truth(inputs: Inputs) -> dict[str, torch.Tensor]:
    """Statistics or divergences of the first rows, [R] each."""
    rows = slice(0, ROWS)
    if inputs.logits.numel():
        log_p_RV = inputs.logits[rows].double().log_softmax(-1)
    else:
        log_p_RV = _product(inputs.hidden, inputs.weight).log_softmax(-1)
    p_RV = log_p_RV.exp()
    entropy_R = -(p_RV * log_p_RV).sum(-1)
    exact = {
        "logprob": log_p_RV.gather(1, inputs.target[rows, None]).squeeze(1),
        "entropy": entropy_R,
        "varentropy": (p_RV * (log_p_RV + entropy_R.unsqueeze(1)).square()).sum(-1),
    }
    if inputs.reference.numel():
        log_q_RV = inputs.reference[rows].double().log_softmax(-1)
    elif inputs.reference_hidden.numel():
        log_q_RV = _product(inputs.reference_hidden, inputs.reference_weight).log_softmax(-1)
    else:
        return exact
    q_RV, mixture_RV = log_q_RV.exp(), torch.logaddexp(log_p_RV, log_q_RV) - math.log(2)
    to_p_R, to_q_R = (p_RV * (log_p_RV - mixture_RV)).sum(-1), (q_RV * (log_q_RV - mixture_RV)).sum(-1)
    return exact | {
        "kl": (p_RV * (log_p_RV - log_q_RV)).sum(-1),
        "reverse_kl": (q_RV * (log_q_RV - log_p_RV)).sum(-1),
        "jsd": (to_p_R + to_q_R) / 2,
    }


def _product(hidden_TH: torch.Tensor, weight_VH: torch.Tensor) -> torch.Tensor:
    wide_RH = hidden_TH[:ROWS].double()
    return torch.cat([wide_RH @ part_CH.double().t() for part_CH in weight_VH.split(COLUMNS)], 1)


def largest_error(outputs: Mapping[str, torch.Tensor], exact: Mapping[str, torch.Tensor]) -> float | None:
    """Largest error over the rows, in nats (nats^2 for varentropy). It is None if nothing can be compared."""
    errors = [
        (outputs[name].detach()[: len(exact[name])].double() - exact[name]).abs().max().item()
        for name in outputs.keys() & exact.keys()
        if outputs[name].ndim == 1
    ]
    return max(errors) if errors else None
