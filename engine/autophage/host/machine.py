"""Resources of this process: memory, CPU quota, and the NVIDIA driver with its GPUs.

The sources are /proc, the control groups under /sys, and `nvidia-smi`. Nothing heavy is imported. `doctor` judges the values.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

GIB = 1 << 30
SMI_SECONDS = 20
"""Seconds that `nvidia-smi` may take. Several GPUs without persistence mode take some; a hung driver never answers."""


@dataclass(frozen=True)
class CudaDriver:
    """The NVIDIA driver and its GPUs.

    `cuda` is the newest CUDA version that the driver supports. `gpus` has one text for each GPU, with name and memory.
    """

    version: str
    cuda: tuple[int, int] | None
    gpus: tuple[str, ...]


def nvidia_driver() -> tuple[CudaDriver | None, str]:
    """Ask `nvidia-smi` for the NVIDIA driver and its GPUs.

    Returns:
        The driver and an empty text, or None and the problem in words. Without `nvidia-smi` the problem is empty.
    """
    if shutil.which("nvidia-smi") is None:
        return None, ""
    ask = partial(subprocess.run, capture_output=True, text=True, timeout=SMI_SECONDS, stdin=subprocess.DEVNULL)
    try:
        header = ask(["nvidia-smi"])
        rows = ask(["nvidia-smi", "--query-gpu=driver_version,name,memory.total", "--format=csv,noheader,nounits"])
    except subprocess.TimeoutExpired:
        return None, f"nvidia-smi did not answer within {SMI_SECONDS} seconds"
    except OSError as error:
        return None, f"nvidia-smi cannot be run: {error}"
    if header.returncode or rows.returncode:
        said = (rows.stdout + rows.stderr + header.stdout).strip()
        return None, f"nvidia-smi failed: {said.splitlines()[0] if said else f'exit code {rows.returncode}'}"
    return parse_driver(header.stdout, rows.stdout)


def parse_driver(header: str, rows: str) -> tuple[CudaDriver | None, str]:
    """Parse the plain output of `nvidia-smi` (`header`) and its CSV output (`rows`).

    Newer drivers print "CUDA UMD Version" in place of "CUDA Version".

    Returns:
        The driver and an empty text, or None and the problem in words.
    """
    gpus = [[part.strip() for part in row.split(",")] for row in rows.splitlines() if row.count(",") == 2]
    if not gpus:
        return None, "nvidia-smi names no GPU"
    cuda = re.search(r"CUDA (?:UMD )?Version:\s*(\d+)\.(\d+)", header)
    lines = tuple(f"{name}, {int(mib) / 1024:.0f} GiB" if mib.isdigit() else name for _, name, mib in gpus)
    return CudaDriver(gpus[0][0], (int(cuda[1]), int(cuda[2])) if cuda else None, lines), ""


def memory_available(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> tuple[int, bool]:
    """Return the available memory in bytes, and True if a control group sets that limit.

    The second value is False if the machine itself sets the limit.
    """
    match = re.search(r"^MemAvailable:\s*(\d+) kB", (proc / "meminfo").read_text("ascii"), re.MULTILINE)
    machine = int(match[1]) * 1024 if match else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    groups = [machine]
    for folder in cgroup_folders("memory", proc, cgroups):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            most, used = _number(folder / limit), _number(folder / usage)
            if most is not None and used is not None:
                groups.append(max(0, most - used + _reclaimable(folder)))
    return min(groups), min(groups) < machine


def cpu_quota(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the CPU quota of the control groups in cores; None without a limit."""
    quotas = []
    for folder in cgroup_folders("cpu", proc, cgroups):
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text("ascii").split()[:2]
        else:
            quota, period = (str(_number(folder / f"cpu.cfs_{part}_us")) for part in ("quota", "period"))
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def cgroup_folders(controller: str, proc: Path, cgroups: Path) -> list[Path]:
    """Return the folders of this process's control group and of its ancestors.

    They belong to version 2, or to version 1 of `controller`. Without control groups the list is empty.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controller if controllers else cgroups
        own = root / path.lstrip("/")
        folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(root) and folder.is_dir()]
    return folders


def _number(path: Path) -> int | None:
    """Return the integer in a control file; None if the file is missing or says "max"."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _reclaimable(folder: Path) -> int:
    """Return the bytes of a control group's page cache. They count as used but are freed under pressure."""
    try:
        text = (folder / "memory.stat").read_text("ascii")
    except OSError:
        return 0
    match = re.search(r"^(?:total_)?inactive_file (\d+)", text, re.MULTILINE)
    return int(match[1]) if match else 0
