"""Descendants of this process: finding them, and ending them before it exits. Linux only, by /proc.

This process adopts orphans (`adopt_orphans`). It therefore finds the children of a killed engine or trainer. These may
still hold the memory of a GPU.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.05


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (prctl(2)).

    Without kernel support, nothing happens.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(but: Iterable[int] = ()) -> list[int]:
    """Return the process ids of all living descendants of this process, without zombies.

    Args:
        but: Process ids that are left out, with the descendants of theirs.
    """
    kept = frozenset(but)
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _parent(entry)) is not None:
            children.setdefault(found, []).append(int(entry.name))
    below, found_all = [os.getpid()], []
    while below:
        below = [child for parent in below for child in children.get(parent, []) if child not in kept]
        found_all += below
    return found_all


def _parent(entry: Path) -> int | None:
    try:
        state, parent = (entry / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None  # the process has ended meanwhile
    return None if state == "Z" else int(parent)


def kill(pids: Iterable[int]) -> None:
    """Send SIGKILL to each process id. A process that has ended is skipped."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_others(but: Iterable[int], seconds: float) -> list[int]:
    """Wait until all descendants have ended, but the process ids `but` and their descendants. After `seconds`, kill the rest.

    Returns:
        Ids of the killed processes; empty if all ended in time.
    """
    kept = frozenset(but)
    deadline = time.monotonic() + seconds
    while (left := descendants(kept)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    killed: list[int] = []
    while left:
        kill(left)
        killed += left
        time.sleep(POLL_SECONDS)
        left = descendants(kept)
    return killed
