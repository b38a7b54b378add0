"""The device, its software, and its limits as measured here: no datasheet is asked."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from kernel_bench.points import Limits
from kernel_bench.timing import flushed, interleaved

ROOT = Path(__file__).resolve().parents[2]
COPIED = {"cuda": 1 << 31, "cpu": 1 << 28}
"""Bytes that are copied to measure bandwidth: far more than any cache holds."""
SIDE = {"cuda": 8192, "cpu": 1024}
"""Rows, columns and depth of the product that measures throughput, bfloat16 on a GPU and float32 on a CPU."""


@dataclass(frozen=True)
class Machine:
    """What every row of results says about where it was measured."""

    device: str
    driver: str
    torch: str
    triton: str
    commit: str
    date: str


def describe(device: torch.device) -> Machine:
    if device.type == "cuda":
        name, driver = torch.cuda.get_device_name(device), f"{_driver()}, CUDA {torch.version.cuda}"
    else:
        name, driver = f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)", ""
    now = datetime.datetime.now(datetime.UTC)
    return Machine(
        name, driver, torch.__version__, version("triton"), commit(), now.isoformat(timespec="seconds")
    )  # fmt: skip


def measure_limits(device: torch.device) -> Limits:
    """Bandwidth of a copy (bytes read and bytes written) and throughput of a large product.

    A pass that only reads can be a little faster than a copy: a fraction of the ideal may pass 100 %.
    """
    kind = device.type
    source = torch.ones(COPIED[kind], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    dtype = torch.bfloat16 if kind == "cuda" else torch.float32
    a, b = (torch.randn(SIDE[kind], SIDE[kind], dtype=dtype, device=device) for _ in range(2))
    calls = {"copy": lambda: target.copy_(source), "product": lambda: a @ b}
    times = {name: flushed(call) for name, call in calls.items()} if kind == "cuda" else interleaved(calls)
    return Limits(2e3 * COPIED[kind] / times["copy"].ms, 2e3 * SIDE[kind] ** 3 / times["product"].ms)


def version(package: str) -> str:
    """Of an installed distribution; of this repository, its commit."""
    if package == "autophage":
        return commit()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def commit() -> str:
    """Of the checkout, with a mark where files differ from it."""
    head = _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", "kernels")
    return (head or "unknown") + ("+changes" if changed else "")


def _driver() -> str:
    lines = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()
    return lines[0] if lines else "unknown driver"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # the program is missing, or there is no repository around
        return ""
