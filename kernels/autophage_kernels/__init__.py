"""Statistics of a language model's whole next-token distribution, one value per token, in one pass over the logits.

`token_stats` for logits in hand. Triton on a GPU, plain torch elsewhere; needs torch and triton, and nothing of the engine.
"""

from autophage_kernels.backend import backend_in_use
from autophage_kernels.statistics import TokenStats
from autophage_kernels.token_statistics import token_stats

__all__ = ["TokenStats", "backend_in_use", "token_stats"]
