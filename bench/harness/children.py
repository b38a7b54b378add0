"""A command in its own session, with a deadline. Its end ends every process that it started.

Standard library only: a benchmark of the kernels runs where the engine's dependencies are missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL = 12
"""Lines of a failed command's output that its error shows."""
NOISE = (" - leaked ", " - ... skipped", "nanobind:", "See https://nanobind")
"""Output of Triton's bindings at the end of a process whose exception holds their objects. It would fill the tail."""
PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""


@dataclass(frozen=True)
class Ended:
    """A command that ended, or was ended at its deadline. `failure` is empty if it succeeded."""

    seconds: float
    failure: str


def run(command: Sequence[str], environment: Mapping[str, str], deadline: float, log: Path) -> Ended:
    """Run a command for at most `deadline` seconds. Its output goes to `log`."""
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
        late = False
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            seconds = time.perf_counter() - began
            end(process)
    if late:
        return Ended(seconds, f"{name(command)} was ended after {deadline:.0f} s\n{tail(log)}")
    if process.returncode:
        return Ended(seconds, f"{name(command)} ended with exit code {process.returncode}\n{tail(log)}")
    return Ended(seconds, "")


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill every process of the session. Engines start processes that outlive a killed parent."""
    with contextlib.suppress(ProcessLookupError):  # nothing is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_with_parent(parent: int) -> None:
    """Let this process die with process `parent`, which started it, even if that is killed. A GPU's memory is then free again."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def name(command: Sequence[str]) -> str:
    return " ".join(Path(part).name if os.sep in part else part for part in command[1:4])


def tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    return "\n".join([line for line in lines if not line.startswith(NOISE)][-TAIL:])
