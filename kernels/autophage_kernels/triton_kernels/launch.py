"""How a kernel is launched: grid, arguments, constants and warps as data, so that what runs can also be compiled and read.

Tests compile the very launches that the operations make for GPUs that are not there, and look at the machine code.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

WARPS_PER_PROCESSOR = 16
"""Programs are split further until this many warps' worth of them exist per multiprocessor."""


@dataclass(frozen=True)
class Launch:
    """One launch of a Triton kernel."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    constants: dict[str, Any]
    warps: int

    def run(self) -> None:
        # Contraction to fused multiply-adds is asked for: newer versions of Triton no longer do it by themselves.
        self.kernel[self.grid](**self.arguments, **self.constants, num_warps=self.warps, enable_fp_fusion=True)


@functools.cache
def processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; 1 where Triton's interpreter stands in for one."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def divide_up(a: int, b: int) -> int:
    return -(-a // b)


def power_of_two(n: int) -> int:
    """The lowest one that is at least n."""
    return 1 << max(0, n - 1).bit_length()
