"""The kernels in Triton: the same operations as `reference`, one launch or two each, float32 inside.

Imported only where they serve (`backend.py`), so that the package works where Triton does not.
"""

from autophage_kernels.triton_kernels.stats import merge_stats, partial_stats, stats_gradient

__all__ = ["merge_stats", "partial_stats", "stats_gradient"]
