"""Checks of a machine before a run: software, driver, memory, disk and limits, each with a remedy.

Checks read `machine`, `gpus` and package metadata. They import neither torch, ray nor vLLM, so they answer at once, even if
one of these is broken. They do not know recipes: `autophage plan` estimates whether a run fits.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from autophage.errors import UserError
from autophage.host import vllm_window
from autophage.host.cache import cache_folder
from autophage.host.check import Check
from autophage.host.gpu_checks import gpu_checks
from autophage.host.gpus import gpu_states
from autophage.host.machine import GIB, CudaDriver, cpu_quota, memory_available, nvidia_driver

MEMORY_GIB = 3.0
"""Minimum available memory in GiB.

With less, the kernel kills the sampler at its start. One process holds vLLM, torch and a small model.
"""
DISK_GIB = 2.0
"""Minimum free disk in GiB.

With less, even a small run may stop at a commit. It writes adapters, corpora and the cached base model.
"""
SHM_GIB = 1.0
"""Minimum free shared memory in GiB.

Containers give 64 MiB by default. Ray's object store then uses the disk, and NCCL cannot start.
"""
GPU_SHM_GIB = 4.0
"""Minimum free shared memory in GiB on a GPU machine.

Ray's object store holds the models in transit: half a GiB, and 0.34 GiB for each rank-32 adapter of an 8B model.
"""
MINIMUM_DRIVER = {11: 450, 12: 525, 13: 580}
"""Oldest NVIDIA driver for each major version of CUDA."""
OPEN_FILES = 4096
"""Minimum limit of open files.

Ray opens several sockets per worker, and raises the soft limit itself up to the hard limit.
"""


def diagnose() -> list[Check]:
    """Return the results of all checks of this machine, software first.

    Without a GPU this takes less than a second.
    """
    driver, problem = nvidia_driver()
    return [
        python(),
        *vllm(),
        torch_build(driver),
        *(requirement(name) for name in ("transformers", "trl", "peft", "ray", "triton")),
        trl_and_vllm(),
        gpus(driver, problem),
        cuda_match(driver),
        *gpu_checks(gpu_states() if driver else []),
        compiler(driver),
        cores(),
        memory(),
        disk(Path.cwd()),
        shared_memory(SHM_GIB if driver is None else GPU_SHM_GIB),
        open_files(),
        cache(),
        ray_token(),
    ]


# --- software -------------------------------------------------------------------------------------------------------


def python() -> Check:
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    remedy = "" if supported else "use Python 3.11, 3.12 or 3.13; in a checkout, `make setup` finds or downloads one"
    return Check("Python", supported, f"{platform.python_version()} ({sys.executable})", remedy)


def vllm() -> list[Check]:
    found = vllm_window.installed()
    if found is None:
        return [Check("vLLM", False, "not installed", vllm_window.remedy())]
    name, version = found
    if vllm_window.within(version):
        checks = [Check("vLLM", True, f"{version} ({name})")]
    else:
        wanted = f"{vllm_window.MINIMUM} or later, below {vllm_window.BELOW}"
        checks = [Check("vLLM", False, f"{version} ({name}); needs {wanted}", vllm_window.remedy(name))]
    if all(_version(name) for name in vllm_window.DISTRIBUTIONS):
        both = " and ".join(vllm_window.DISTRIBUTIONS)
        remedy = "make a new environment with one of them: `make setup EXTRA=cpu` or `make setup EXTRA=gpu`"
        checks.append(Check("vLLM twice", False, f"{both} are both installed and overwrite each other", remedy))
    return checks


def torch_build(driver: CudaDriver | None) -> Check:
    version = _version("torch")
    if version is None:
        return Check("torch", False, "not installed", _reinstall("torch"))
    cuda = torch_cuda()
    build = f"CUDA {cuda[0]}.{cuda[1]} build" if cuda else "CPU build"
    if cuda is None and driver is not None:
        return Check("torch", None, f"{version}, {build}: the GPUs are not used", "to use them: `make setup EXTRA=gpu`")
    if cuda is not None and driver is None:
        remedy = "install the NVIDIA driver, or the CPU build: `make setup EXTRA=cpu`"
        return Check("torch", False, f"{version}, {build}, but no NVIDIA driver answers", remedy)
    return requirement("torch", build)


def requirement(name: str, detail: str = "") -> Check:
    """Check that the package `name` is installed in a version that the metadata of autophage accepts.

    Args:
        detail: Words to add to the version in the result.
    """
    version = _version(name)
    wanted = _wanted(name)
    if version is None:
        return Check(name, None if wanted is None else False, "not installed", _reinstall(name) if wanted else "")
    found = f"{version}, {detail}" if detail else version
    if wanted is None:
        return Check(name, None, found)
    if not wanted.specifier.contains(version, prereleases=True):
        return Check(name, False, f"{found}; needs {wanted.specifier}", _reinstall(str(wanted)))
    return Check(name, True, found)


def trl_and_vllm() -> Check:
    """Compare the installed vLLM with the versions that TRL supports.

    TRL needs them for its own generation, which Autophage does not use. Outside of them TRL prints a warning.
    """
    found = vllm_window.installed()
    wanted = next((want for want in _requirements("trl") if want.name == "vllm"), None)
    if found is None or wanted is None:
        return Check("TRL and vLLM", None, "nothing to compare: TRL or vLLM is missing, or TRL states no versions")
    inside = wanted.specifier.contains(found[1], prereleases=True)
    window = ", ".join(sorted((str(part) for part in wanted.specifier), reverse=True))
    harm = "" if inside else "; importing TRL may print a warning, which is harmless: Autophage calls vLLM itself"
    return Check("TRL and vLLM", True if inside else None, f"TRL supports vLLM {window}; {found[1]} is installed{harm}")


def torch_cuda() -> tuple[int, int] | None:
    """Return the CUDA version of the installed torch; None for a CPU build, or without torch.

    The version is read from torch's `version.py`.
    """
    try:
        text = Path(str(metadata.distribution("torch").locate_file("torch/version.py"))).read_text("utf-8")
    except (metadata.PackageNotFoundError, OSError):
        return None
    match = re.search(r"^cuda\b[^=]*=\s*['\"](\d+)\.(\d+)", text, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _requirements(distribution: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in metadata.requires(distribution) or []]
    except metadata.PackageNotFoundError:
        return []


def _wanted(name: str) -> Requirement | None:
    return next((want for want in _requirements("autophage") if want.name == name), None)


def _reinstall(what: str) -> str:
    return f'run `make setup` in a checkout, or `uv pip install "{what}"`'


# --- GPUs -----------------------------------------------------------------------------------------------------------


def gpus(driver: CudaDriver | None, problem: str) -> Check:
    if driver is None:
        if problem:
            return Check("GPUs", False, problem, "repair the NVIDIA driver, or use the CPU: `make setup EXTRA=cpu`")
        return Check("GPUs", None, "none (no nvidia-smi): runs use the CPU")
    counts = {line: driver.gpus.count(line) for line in driver.gpus}
    found = "; ".join(f"{count} x {line}" for line, count in counts.items())
    return Check("GPUs", True, f"{found}; driver {driver.version}")


def cuda_match(driver: CudaDriver | None) -> Check:
    """Check that the driver supports the CUDA version of torch.

    It supports any CUDA up to its own major version. If it does not name that, the number of the driver tells.
    """
    built = torch_cuda()
    if driver is None or built is None:
        return Check("CUDA of torch and driver", None, "nothing to compare: no CUDA build of torch, or no driver")
    found = f"torch is built for {built[0]}.{built[1]}, "
    oldest = MINIMUM_DRIVER.get(built[0])
    if driver.cuda is not None:
        supported = built[0] <= driver.cuda[0]
        found += f"the driver supports {driver.cuda[0]}.{driver.cuda[1]}"
    else:
        number = driver.version.partition(".")[0]
        supported = oldest is None or not number.isdigit() or int(number) >= oldest
        found += f"the driver is {driver.version}"
    if supported:
        return Check("CUDA of torch and driver", True, found)
    newer = f"{oldest} or newer" if oldest else f"one that supports CUDA {built[0]}"
    older = f"torch for CUDA {driver.cuda[0]}" if driver.cuda else "torch for an older CUDA"
    return Check("CUDA of torch and driver", False, found, f"update the NVIDIA driver to {newer}, or install {older}")


def compiler(driver: CudaDriver | None) -> Check:
    """Check for a C compiler and Python's headers.

    Triton builds a small C launcher for every kernel. Without a driver, a missing compiler stops no run.
    """
    tool = next((name for name in (os.environ.get("CC"), "gcc", "clang", "cc") if name and shutil.which(name)), None)
    headers = (Path(sysconfig.get_path("include")) / "Python.h").is_file()
    found = f"{tool or 'no C compiler'}, {'with' if headers else 'without'} Python's headers"
    if tool and headers:
        return Check("C compiler", True, found)
    remedy = "install gcc and this Python's development package (python3-dev), or use a Python from uv"
    return Check("C compiler", None if driver is None else False, f"{found} (Triton kernels need both)", remedy)


# --- the machine ----------------------------------------------------------------------------------------------------


def cores() -> Check:
    usable = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    if quota is not None and quota < usable:
        advice = f"set OMP_NUM_THREADS={max(1, int(quota))}: threads above the quota wait for each other"
        return Check("cores", None, f"{usable}, limited to {quota:g} by the control group", advice)
    return Check("cores", None, f"{usable} of {os.cpu_count()}")


def memory() -> Check:
    available, limited = memory_available()
    found = f"{available / GIB:.1f} GiB available" + (" under the control group's limit" if limited else "")
    if available < MEMORY_GIB * GIB:
        remedy = f"free memory or raise the limit: a small run needs {MEMORY_GIB:g} GiB"
        return Check("memory", False, found, remedy)
    return Check("memory", True, found)


def disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.1f} GiB free in {folder}"
    if free < DISK_GIB:
        return Check("disk", False, found, "free disk space, or run with --out on another disk")
    return Check("disk", True, found)


def shared_memory(wanted: float = SHM_GIB, folder: Path = Path("/dev/shm")) -> Check:
    """Check that `wanted` GiB of shared memory are free."""
    if not folder.is_dir():
        advice = "Ray's object store uses the disk instead, which is slower"
        return Check("shared memory", None, f"{folder} does not exist", advice)
    usage = shutil.disk_usage(folder)
    found = f"{usage.free / GIB:.2g} of {usage.total / GIB:.2g} GiB free in {folder}"
    if usage.free >= wanted * GIB:
        return Check("shared memory", True, found)
    advice = (
        f"start the container with --shm-size=8g, or remove files from {folder}: Ray's object store and NCCL need "
        f"{wanted:g} GiB, and Ray uses the slower disk for what does not fit"
    )
    return Check("shared memory", None, found, advice)


def open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reach = float("inf") if hard == resource.RLIM_INFINITY else hard
    found = f"{soft} open files, at most {'unlimited' if hard == resource.RLIM_INFINITY else hard}"
    if reach >= OPEN_FILES:
        return Check("open files", True, found)
    advice = f"raise the limit for large runs: `ulimit -n {OPEN_FILES}`, or 65536 on a cluster"
    return Check("open files", None, found, advice)


def cache() -> Check:
    try:
        folder = cache_folder()
    except UserError as error:
        return Check("cache folder", False, "unknown", str(error))
    standing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    if standing.is_dir() and os.access(standing, os.W_OK | os.X_OK):
        return Check("cache folder", True, str(folder))
    fault = "is not writable" if standing.is_dir() else "is not a folder"
    return Check(
        "cache folder", False, f"{folder}: {standing} {fault}", "set AUTOPHAGE_CACHE to a folder that you may write to"
    )


def ray_token() -> Check:
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is not None and mode.lower() != "token":
        advice = (
            "unset RAY_AUTH_MODE, or set it to token: without it, anyone who reaches a Ray port can run code as you"
        )
        return Check("Ray token authentication", None, f"off: RAY_AUTH_MODE={mode}", advice)
    return Check("Ray token authentication", True, "on (RAY_AUTH_MODE=token)" if mode else "on by default")
