"""Fault points: named places where a test can kill a run.

Every write, fsync, rename, stage and actor call of a run passes `reach`. It does nothing unless a variable arms it:

    AUTOPHAGE_FAULT=17:/tmp/trace    the process that reaches the 17th point kills itself with SIGKILL
    AUTOPHAGE_FAULT=0:/tmp/trace     no point kills; the trace lists all of them

The driver and its actors inherit the variable. The trace has a line per point and is the counter that all processes
share.
"""

from __future__ import annotations

import fcntl
import os
import signal
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "AUTOPHAGE_FAULT"
TORN_BYTES = 7
"""Bytes that a simulated power cut removes from an unsynced file. The smallest file of a run has more."""


@dataclass(frozen=True)
class CrashPoint:
    """Kill the process that reaches point number `at`, counted from 1; 0 kills none. The file `trace` lists the points."""

    at: int
    trace: Path

    def reach(self, name: str, torn: Path | None) -> None:
        with self.trace.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            number = file.read().count(b"\n") + 1
            file.write(f"{os.getpid()} {name}\n".encode())
            file.flush()
            if number == self.at:
                if torn is not None:
                    os.truncate(torn, max(0, torn.stat().st_size - TORN_BYTES))
                os.kill(os.getpid(), signal.SIGKILL)


def _from_environment() -> CrashPoint | None:
    at, _, trace = os.environ.get(VARIABLE, "").partition(":")
    return CrashPoint(int(at), Path(trace)) if trace else None


_point = _from_environment()


def arm(point: CrashPoint | None) -> None:
    """Set the crash point of this process and its forks, in place of the variable. None removes it."""
    global _point
    _point = point


def reach(step: str, what: object = "", *, torn: Path | None = None) -> None:
    """Record that the run passes the point `step` of `what`. Die there if the crash point says so.

    Without a crash point nothing happens.

    Args:
        torn: File that is not synced yet. A crash here cuts off its end.
    """
    if _point is not None:
        _point.reach(f"{step} {what}", torn)
