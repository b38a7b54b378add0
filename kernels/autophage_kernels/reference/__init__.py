"""Every operation in plain torch, chunk by chunk, on any device: the definition that the Triton kernels are held to.

Memory does not grow with T x V: a chunk of rows is worked on in a few buffers that are used again for the next one.
Work is float32 for 16- and 32-bit logits and float64 for float64 ones.
"""

from autophage_kernels.reference.gradient import stats_gradient
from autophage_kernels.reference.merging import merge_stats
from autophage_kernels.reference.moments import partial_stats

__all__ = ["merge_stats", "partial_stats", "stats_gradient"]
