"""State of each GPU, as `nvidia-smi` reports it: memory in use, processes, compute mode, MIG slices.

`gpu_checks` judges the values. This module does not know which GPUs a run takes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from autophage.host.machine import SMI_SECONDS

FIELDS = "index,uuid,name,compute_cap,memory.total,memory.used,compute_mode,mig.mode.current"


@dataclass(frozen=True)
class GpuState:
    """One GPU. Memory is in MiB, and None if the driver does not tell. `slices` are the UUIDs of its MIG slices.

    `users` are ids of processes that compute on it. A container sees its own alone.
    """

    index: str
    uuid: str
    name: str
    capability: str
    total: int | None
    used: int | None
    compute_mode: str
    mig: bool
    slices: tuple[str, ...] = ()
    users: tuple[int, ...] = ()


def gpu_states() -> list[GpuState]:
    """Return the state of every GPU; none if `nvidia-smi` is missing, fails or does not know a field."""
    rows = _ask(f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits")
    parts = [
        [part.strip() for part in row.split(",")] for row in rows.splitlines() if row.count(",") == FIELDS.count(",")
    ]
    if not parts:
        return []
    slices = _slices(_ask("-L")) if any(row[7] == "Enabled" for row in parts) else {}
    users = _users(_ask("--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader"))
    return [
        GpuState(
            index, uuid, name, capability, _mib(total), _mib(used), mode, mig == "Enabled",
            tuple(slices.get(uuid, ())), tuple(users.get(uuid, ())),
        )
        for index, uuid, name, capability, total, used, mode, mig in parts
    ]  # fmt: skip


def visible(gpus: Sequence[GpuState], listed: str | None) -> tuple[list[GpuState], str]:
    """Return the GPUs that `CUDA_VISIBLE_DEVICES` = `listed` shows, and the entry that names no GPU of this machine.

    CUDA ignores every entry after such a one. Without it the text is empty. None shows all GPUs.
    """
    if listed is None:
        return list(gpus), ""
    seen: list[GpuState] = []
    for entry in (part.strip() for part in listed.split(",")):
        named = [gpu for gpu in gpus if _names(entry, gpu)]
        if len(named) != 1:
            return seen, entry
        seen += [gpu for gpu in named if gpu not in seen]
    return seen, ""


def _names(entry: str, gpu: GpuState) -> bool:
    """True if an entry is the index of a GPU, the start of its UUID or of one of its slices', or the older name of a slice."""
    if entry.isdigit():
        return entry == gpu.index
    if not entry:
        return False
    return entry.startswith(f"MIG-{gpu.uuid}/") or any(uuid.startswith(entry) for uuid in (gpu.uuid, *gpu.slices))


def _ask(*arguments: str) -> str:
    """Output of `nvidia-smi`; empty if it cannot answer, which the check of the driver tells."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=SMI_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout


def _slices(listing: str) -> dict[str, list[str]]:
    """UUIDs of MIG slices by UUID of their GPU, from `nvidia-smi -L`."""
    found: dict[str, list[str]] = {}
    gpu = ""
    for kind, uuid in re.findall(r"^\s*(GPU|MIG) .*\(UUID: ([\w/-]+)\)", listing, re.MULTILINE):
        if kind == "GPU":
            gpu = uuid
        else:
            found.setdefault(gpu, []).append(uuid)
    return found


def _users(rows: str) -> dict[str, list[int]]:
    """Process ids by UUID of their GPU."""
    found: dict[str, list[int]] = {}
    for uuid, pid in re.findall(r"^(\S+), (\d+)$", rows, re.MULTILINE):
        found.setdefault(uuid, []).append(int(pid))
    return found


def _mib(text: str) -> int | None:
    return int(text) if text.isdigit() else None
