"""The device, its software, and its measured limits. No data sheet is used."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import torch

from harness.facts import commit, driver, now, version
from kernel_bench.points import Limits
from kernel_bench.timing import flushed, interleaved

COPIED = {"cuda": 1 << 31, "cpu": 1 << 28}
"""Bytes that are copied to measure bandwidth: far more than any cache holds."""
SIDE = {"cuda": 8192, "cpu": 1024}
"""Rows, columns and depth of the product that measures throughput. It is bfloat16 on a GPU and float32 on a CPU."""


@dataclass(frozen=True)
class MachineFacts:
    """Facts of the machine in every row of results."""

    device: str
    driver: str
    torch: str
    triton: str
    commit: str
    date: str


def describe(device: torch.device) -> MachineFacts:
    if device.type == "cuda":
        name, drivers = torch.cuda.get_device_name(device), f"{driver()}, CUDA {torch.version.cuda}"
    else:
        name, drivers = f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)", ""
    return MachineFacts(name, drivers, torch.__version__, version("triton"), commit("kernels"), now())


def measure_limits(device: torch.device) -> Limits:
    """Bandwidth of a copy (bytes read and written) and throughput of a large product.

    A pass that only reads can be a little faster than a copy. A fraction of the ideal may therefore exceed 100%.
    """
    kind = device.type
    source = torch.ones(COPIED[kind], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    dtype = torch.bfloat16 if kind == "cuda" else torch.float32
    a, b = (torch.randn(SIDE[kind], SIDE[kind], dtype=dtype, device=device) for _ in range(2))
    calls = {"copy": lambda: target.copy_(source), "product": lambda: a @ b}
    times = {name: flushed(call) for name, call in calls.items()} if kind == "cuda" else interleaved(calls)
    return Limits(2e3 * COPIED[kind] / times["copy"].ms, 2e3 * SIDE[kind] ** 3 / times["product"].ms)
