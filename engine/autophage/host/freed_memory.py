"""Keeps freed memory in the process, so that large tensors on a CPU do not have every page mapped anew.

glibc returns each freed block above 32 MB to the kernel. A model's activations of some thousand tokens are such blocks, and
mapping their pages takes longer than an elementwise product of them. Kept memory is used again, and the process stays at
its peak.
"""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3), as numbered in malloc.h and glibc."""
LARGEST = 1 << 30
"""Bytes up to which freed blocks are kept."""


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks, in one arena of all threads. Another C library decides for itself."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, LARGEST)
        # A thread's own arena takes blocks of up to 64 MB, and maps larger ones anew.
        mallopt(ARENA_MAX, 1)
