"""Per-token statistics of a language model's next-token distribution.

    token_stats                            of logits in hand
    token_divergence                       between two of them
    linear_token_stats, linear_token_divergence     of hidden states, with the LM head fused in

Triton serves a GPU and plain torch every other device (`backend_in_use` tells which). The package needs torch and triton only.
"""

from autophage_kernels.backend import backend_in_use
from autophage_kernels.divergences import TokenDivergence
from autophage_kernels.linear import linear_token_divergence, linear_token_stats
from autophage_kernels.statistics import TokenStats
from autophage_kernels.token_divergences import token_divergence
from autophage_kernels.token_statistics import token_stats

__all__ = [
    "TokenDivergence",
    "TokenStats",
    "backend_in_use",
    "linear_token_divergence",
    "linear_token_stats",
    "token_divergence",
    "token_stats",
]
