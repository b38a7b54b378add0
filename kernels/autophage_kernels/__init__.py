"""Statistics of a language model's whole next-token distribution, one value per token, in one pass over the logits.

    token_stats, tail_mass, top_k_mass     of logits in hand
    token_divergence                       between two of them
    linear_token_stats, linear_token_divergence     of hidden states, with the LM head fused in
    vocabulary_parallel_token_stats        of logits whose vocabulary is spread over processes

Triton on a GPU, plain torch elsewhere (`backend_in_use`); needs torch and triton, and nothing of the engine.
"""

from autophage_kernels.backend import backend_in_use
from autophage_kernels.divergences import TokenDivergence
from autophage_kernels.linear import linear_token_divergence, linear_token_stats
from autophage_kernels.parallel import vocabulary_parallel_token_stats
from autophage_kernels.statistics import TokenStats
from autophage_kernels.tail import tail_mass, top_k_mass
from autophage_kernels.token_divergences import token_divergence
from autophage_kernels.token_statistics import token_stats

__all__ = [
    "TokenDivergence",
    "TokenStats",
    "backend_in_use",
    "linear_token_divergence",
    "linear_token_stats",
    "tail_mass",
    "token_divergence",
    "token_stats",
    "top_k_mass",
    "vocabulary_parallel_token_stats",
]
