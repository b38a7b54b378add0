"""The processes below this one: who they are, and that none of them outlives it. Linux alone, by /proc.

A process whose parent died belongs to this one (`adopt_orphans`), so that what an engine or a trainer left behind when it was
killed, with the memory of a GPU in its hands, is still found.
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
    """Be the parent of every descendant whose own parent dies (prctl(2)); a kernel that cannot leaves things as they are."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[int]:
    """Living processes below this one; zombies do not count."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _parent(entry)) is not None:
            children.setdefault(found, []).append(int(entry.name))
    below, found_all = [os.getpid()], []
    while below:
        below = [child for parent in below for child in children.get(parent, [])]
        found_all += below
    return found_all


def _parent(entry: Path) -> int | None:
    try:
        state, parent = (entry / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None  # it ended meanwhile
    return None if state == "Z" else int(parent)


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_others(but: Iterable[int], seconds: float) -> list[int]:
    """Wait until no descendant is left except `but`, and kill those that are after `seconds`; returns whom it had to kill."""
    kept = frozenset(but)
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in descendants() if pid not in kept]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    killed: list[int] = []
    while left:
        kill(left)
        killed += left
        time.sleep(POLL_SECONDS)
        left = [pid for pid in descendants() if pid not in kept]
    return killed
