"""Every operation in plain torch, chunk by chunk, on any device: the definition that the Triton kernels are held to.

Memory does not grow with T x V: a chunk of rows is worked on in a few buffers that are used again for the next one.
Work is float32 for 16- and 32-bit logits and float64 for float64 ones.
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
from autophage_kernels.reference.tail import mass_below

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
