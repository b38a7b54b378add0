"""Every operation in plain torch, on any device. The Triton kernels are tested against it.

Operations work on one chunk of rows at a time and reuse its buffers. Memory does not grow with the logits. Work is float32 for
16-bit and 32-bit logits and float64 for float64 ones.
"""

from autophage_kernels.reference.divergence import (
    divergence_gradient,
    merge_divergence,
    mixture_divergence,
    partial_divergence,
)
from autophage_kernels.reference.gradient import stats_gradient
from autophage_kernels.reference.merging import merge_stats
from autophage_kernels.reference.moments import partial_stats, split_count

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
