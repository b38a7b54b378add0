"""The operations of `reference` as Triton kernels, one launch or two each, float32 inside.

`backend.py` imports the module only if Triton serves. The package works without Triton.
"""

from autophage_kernels.triton_kernels.launch_divergence import (
    divergence_gradient,
    merge_divergence,
    mixture_divergence,
    partial_divergence,
)
from autophage_kernels.triton_kernels.launch_stats import merge_stats, partial_stats, split_count, stats_gradient

__all__ = [
    "divergence_gradient",
    "merge_divergence",
    "merge_stats",
    "mixture_divergence",
    "partial_divergence",
    "partial_stats",
    "split_count",
    "stats_gradient",
]
