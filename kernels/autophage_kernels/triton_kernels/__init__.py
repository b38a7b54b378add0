"""The kernels in Triton: the same operations as `reference`, one launch or two each, float32 inside.

Imported only where they serve (`backend.py`), so that the package works where Triton does not.
"""

from autophage_kernels.triton_kernels.launch_divergence import (
    divergence_gradient,
    merge_divergence,
    mixture_divergence,
    partial_divergence,
)
from autophage_kernels.triton_kernels.launch_stats import merge_stats, partial_stats, split_count, stats_gradient
from autophage_kernels.triton_kernels.tail import mass_below

__all__ = [
    "divergence_gradient",
    "mass_below",
    "merge_divergence",
    "merge_stats",
    "mixture_divergence",
    "partial_divergence",
    "partial_stats",
    "split_count",
    "stats_gradient",
]
