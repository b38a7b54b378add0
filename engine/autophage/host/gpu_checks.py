"""Checks of the GPUs that this process sees: which they are, MIG, memory in use, compute mode, CUDA's compiler.

Each names a cause that would otherwise show as an error of CUDA, vLLM or TRL inside a run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from autophage.host.check import Check
from autophage.host.environment import process_variables
from autophage.host.gpus import GpuState, visible

BUSY_SHARE = 0.1
"""Share of a GPU's memory that may be in use. A display takes less. With more, the sampler's share may not be free."""
FLASHINFER_ATTENTION = "10."
"""Compute capability on which FlashInfer's attention is vLLM's first choice."""
SAMPLER = "VLLM_USE_FLASHINFER_SAMPLER"


def gpu_checks(gpus: Sequence[GpuState]) -> list[Check]:
    """Return the checks of these GPUs of the machine; none without GPUs."""
    if not gpus:
        return []
    seen, unknown = visible(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return [
        visible_gpus(gpus, seen, unknown),
        *mig([gpu for gpu in seen if gpu.mig]),
        *memory_in_use([gpu for gpu in seen if not gpu.mig]),
        *compute_mode(seen),
        cuda_compiler(seen),
    ]


def visible_gpus(gpus: Sequence[GpuState], seen: Sequence[GpuState], unknown: str) -> Check:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    name, remedy = "visible GPUs", "unset CUDA_VISIBLE_DEVICES, or list indices or UUIDs of `nvidia-smi -L`"
    if listed is not None and not seen and unknown in ("", "-1", "NoDevFiles"):
        return Check(name, None, f"none of {len(gpus)}: CUDA_VISIBLE_DEVICES={listed} hides them", remedy)
    if unknown:
        said = f"CUDA_VISIBLE_DEVICES={listed}: {unknown} names no GPU of this machine, and CUDA ignores what follows"
        return Check(name, False, said, remedy)
    found = f"{len(seen)} of {len(gpus)}" + (f": CUDA_VISIBLE_DEVICES={listed}" if listed is not None else "")
    if len({gpu.name for gpu in gpus}) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        advice = "set CUDA_DEVICE_ORDER=PCI_BUS_ID: CUDA numbers unlike GPUs by speed, nvidia-smi by slot"
        return Check(name, None, f"{found}, of unlike kinds", advice)
    if len(seen) > 1:
        advice = "a cell takes one GPU, or two with devices=disjoint; raise cluster.cells to use more of them"
        return Check(name, None, found, advice)
    return Check(name, True, found)


def mig(divided: Sequence[GpuState]) -> list[Check]:
    """Check GPUs in MIG mode. CUDA shows a process one slice, and none of a GPU without slices."""
    if not divided:
        return []
    empty = [gpu.index for gpu in divided if not gpu.slices]
    if empty:
        found = f"GPU {', '.join(empty)}: in MIG mode without a slice, so CUDA cannot use it"
        off = f"`sudo nvidia-smi -i {','.join(empty)} -mig 0`"
        remedy = f"end MIG mode ({off}), or make slices (`sudo nvidia-smi mig -cgi PROFILE -C`)"
        return [Check("MIG", False, found, remedy)]
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if listed.startswith("MIG-") and "," not in listed:
        return [Check("MIG", True, f"one slice of GPU {divided[0].index}")]
    found = "; ".join(f"GPU {gpu.index}: {len(gpu.slices)} slices" for gpu in divided)
    advice = (
        f"a process sees one slice: set CUDA_VISIBLE_DEVICES to one UUID, such as {divided[0].slices[0]}, and use one cell "
        "on it (devices=colocated). Its memory is that of the slice"
    )
    return [Check("MIG", None, found, advice)]


def memory_in_use(gpus: Sequence[GpuState]) -> list[Check]:
    known = [(gpu, gpu.used, gpu.total) for gpu in gpus if gpu.used is not None and gpu.total]
    if not known:
        return []
    busy = [(gpu, used, total) for gpu, used, total in known if used > BUSY_SHARE * total]
    if not busy:
        return [Check("GPU memory in use", True, f"at most {max(used for _, used, _ in known) / 1024:.1f} GiB")]
    found = "; ".join(
        f"GPU {gpu.index}: {used / 1024:.1f} of {total / 1024:.0f} GiB, by "
        + (f"process {', '.join(map(str, gpu.users))}" if gpu.users else "processes that this container does not see")
        for gpu, used, total in busy
    )
    taken = {gpu.index for gpu, _, _ in busy}
    free = [gpu.index for gpu, _, _ in known if gpu.index not in taken]
    if free:
        return [Check("GPU memory in use", None, found, f"use the others: CUDA_VISIBLE_DEVICES={','.join(free)}")]
    remedy = "wait for these processes or end them; the sampler needs its share of the memory free when it starts"
    return [Check("GPU memory in use", False, found, remedy)]


def compute_mode(gpus: Sequence[GpuState]) -> list[Check]:
    """Check that sampler and trainer may share a GPU. In the mode Exclusive_Process one process alone may use it."""
    special = [gpu for gpu in gpus if gpu.compute_mode in ("Exclusive_Process", "Prohibited")]
    if not special:
        return []
    indices = ",".join(gpu.index for gpu in special)
    found = "; ".join(f"GPU {gpu.index}: {gpu.compute_mode}" for gpu in special)
    reset = f"`sudo nvidia-smi -i {indices} -c DEFAULT`"
    if any(gpu.compute_mode == "Prohibited" for gpu in special):
        return [Check("compute mode", False, found, f"allow processes: {reset}")]
    advice = f"{reset}, or devices=disjoint: otherwise sampler and trainer are two processes on one GPU"
    return [Check("compute mode", None if len(gpus) > 1 else False, found, advice)]


def cuda_compiler(gpus: Sequence[GpuState]) -> Check:
    """Check for nvcc and ninja where FlashInfer would compile its kernels with them."""
    nvcc, ninja = find_nvcc(), shutil.which("ninja")
    found = f"{nvcc or 'no nvcc'}, {'with' if ninja else 'without'} ninja"
    if nvcc and ninja:
        return Check("CUDA compiler", True, found)
    remedy = "set CUDA_HOME to a CUDA toolkit and put ninja on PATH (`pip install ninja`)"
    asked = os.environ.get(SAMPLER, process_variables()[SAMPLER])
    if asked != "0":
        return Check("CUDA compiler", False, f"{found}; {SAMPLER}={asked} needs both", f"unset {SAMPLER}, or {remedy}")
    if any(gpu.capability.startswith(FLASHINFER_ATTENTION) for gpu in gpus):
        return Check("CUDA compiler", None, f"{found}; vLLM prefers FlashInfer's attention on this GPU", remedy)
    return Check("CUDA compiler", True, f"{found}; not needed, since FlashInfer's sampler is off")


def find_nvcc() -> str | None:
    """Return the path of nvcc where FlashInfer looks for it; None if it is missing there."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home:
        return shutil.which(str(Path(home) / "bin" / "nvcc"))
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
