"""Named places where a run may be made to die, so that tests can show what every one of them leaves behind.

Every write, fsync, rename, stage and actor call of a run passes `reach`, which does nothing unless a test has armed it:

    AUTOPHAGE_FAULT=17:/tmp/trace    the process that reaches the 17th point kills itself with SIGKILL
    AUTOPHAGE_FAULT=0:/tmp/trace     no point kills; the trace is the list of all of them

The trace has one line a point, and is the counter that all processes of a run share: the driver and its actors inherit
the variable. Knows neither what is written nor what a stage is.
"""

from __future__ import annotations

import fcntl
import os
import signal
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "AUTOPHAGE_FAULT"
TORN_BYTES = 7
"""What a power cut takes of the end of a write that was not synced: less than the smallest file a run has."""


@dataclass(frozen=True)
class CrashPoint:
    """Die at the point of number `at`, counted from 1; 0 lets every point pass. Points are listed in the file `trace`."""

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
    """For this process and those it forks, instead of the variable."""
    global _point
    _point = point


def reach(step: str, what: object = "", *, torn: Path | None = None) -> None:
    """Be at the point `step` of `what`. `torn` has been written to and not synced, so a crash here may leave it torn."""
    if _point is not None:
        _point.reach(f"{step} {what}", torn)
