"""uv as `scripts/setup.sh` finds it, the environment that it runs in, and the caches of an installation."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

CACHES = ("AUTOPHAGE_CACHE", "HF_HOME", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
"""Folders for models and compiled kernels. In the pod's own file system they would end with the pod."""
LEADS_BACK = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that would lead an installed package back to this checkout."""


def outside() -> dict[str, str]:
    """Environment of a command that must not see this checkout."""
    return {name: value for name, value in os.environ.items() if name not in LEADS_BACK}


def uv() -> str:
    """Path of uv. The test is skipped without it."""
    own = Path(sys.prefix) / "uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.is_file() else None)
    if found is None:
        pytest.skip("needs uv on PATH or in this environment")
    return found


def uv_variables(*, links: bool) -> dict[str, str]:
    """Environment of uv, with pip's certificate and, on request, pip's folder of wheels.

    A CPU build of torch in that folder counts as newer than the CUDA build of the same version.
    """
    own = {name: value for name, value in outside().items() if not name.startswith("UV_") or name == "UV_CACHE_DIR"}
    if certificate := own.get("PIP_CERT"):
        own["SSL_CERT_FILE"] = certificate
    if links and (folder := own.get("PIP_FIND_LINKS")):
        own["UV_FIND_LINKS"] = folder.replace(" ", ",")
    return own
