"""Statistics of a language model's whole next-token distribution, one value per token.

`token_stats` is the entry point. Needs torch and nothing of the engine.
"""

from autophage_kernels.reference import TokenStats, token_stats

__all__ = ["TokenStats", "token_stats"]
