"""Launches of kernels as data: grid, arguments, constants and warps.

Tests compile the launches of the operations for absent GPUs and read the machine code.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

WARPS_PER_PROCESSOR = 16
"""Number of warps per multiprocessor that a launch tries to reach by splitting rows."""


@dataclass(frozen=True)
class Launch:
    """One launch of a Triton kernel as data: grid, arguments, compile-time constants, and warps per program."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    constants: dict[str, Any]
    warps: int

    def run(self) -> None:
        """Launch the kernel on its arguments, which include the outputs."""
        # Newer versions of Triton contract to fused multiply-adds on request only.
        self.kernel[self.grid](**self.arguments, **self.constants, num_warps=self.warps, enable_fp_fusion=True)


@functools.cache
def processors(device: torch.device) -> int:
    """Return the number of multiprocessors of a GPU. It is 1 under Triton's interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def divide_up(a: int, b: int) -> int:
    """Return a / b rounded up."""
    return -(-a // b)


def power_of_two(n: int) -> int:
    """Return the lowest power of two that is at least n and at least 1."""
    return 1 << max(0, n - 1).bit_length()
