"""The distribution that is sampled from: logits after temperature, top-k and the nucleus, as vLLM defines them.

    temperature  z / T; at T = 0 only the most probable token stays, and equals of it
    top_k        a token stays if its logit is at least the k-th largest
    top_p        a token stays if those more probable than it, of what top_k left, hold less than p together

The sampled token always stays: at the edge of the nucleus two ways of adding up may differ by a rounding, and what was
sampled had a probability. Penalties, biases, min_p and bad words are not known here: nothing in this package asks vLLM
for them.
"""

from __future__ import annotations

import torch


def truncated(
    logits_NV: torch.Tensor,
    token_N: torch.Tensor,
    temperature_N: torch.Tensor,
    top_k_N: torch.Tensor,
    top_p_N: torch.Tensor,
) -> torch.Tensor:
    """Float32 logits of each row's processed distribution, -inf for what is cut; a `top_k` below 1 or above V cuts none."""
    z_NV = logits_NV.float()
    vocabulary = z_NV.shape[1]
    greedy_N1 = (temperature_N == 0).unsqueeze(1)
    z_NV = z_NV / temperature_N.unsqueeze(1).masked_fill(greedy_N1, 1.0)
    k_N = top_k_N.long()
    k_N = torch.where((k_N < 1) | (k_N > vocabulary), vocabulary, k_N)
    # Greedy is the case k = 1 with its equals.
    k_N1 = k_N.unsqueeze(1).masked_fill(greedy_N1, 1)
    descending_NV, order_NV = z_NV.sort(dim=1, descending=True, stable=True)
    stays_NV = descending_NV >= descending_NV.gather(1, k_N1 - 1)
    p_NV = descending_NV.masked_fill(~stays_NV, -torch.inf).softmax(1)
    top_p_N1 = top_p_N.unsqueeze(1)
    # At p = 1 nothing is cut, though rounding may bring the sum to 1 before the tail.
    stays_NV &= (p_NV.cumsum(1) - p_NV < top_p_N1) | (top_p_N1 >= 1) | greedy_N1
    stays_NV = torch.zeros_like(stays_NV).scatter_(1, order_NV, stays_NV)
    stays_NV.scatter_(1, token_N.unsqueeze(1), True)
    return z_NV.masked_fill(~stays_NV, -torch.inf)
