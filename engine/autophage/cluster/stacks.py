"""The Python stack of a process that does not answer.

A signal requests the stack, so neither a free thread nor the interpreter lock is needed. `faulthandler` writes the
stack to the process's log. This module reads it from there.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

DUMP_SIGNAL = signal.SIGUSR2
"""Signal at which actors write the stacks of their threads (`actors.Shell`). Slurm and users send others."""
DUMP_SECONDS = 10.0
"""Longest wait for a stack in the log. The file system may be one that another machine writes to."""
DUMP_SETTLED = 0.5
"""Seconds without growth after which a log holds the whole dump."""
FRAMES_SHOWN = 12
"""Innermost frames that an error message shows."""
PACKAGE, OWNER = "/autophage/", "/autophage/sampler/owner.py"
"""Parts of the file names of this package's frames, and of the innermost one of a thread that waits for work or a result."""


def dump_stack(where: tuple[str, int] | None, log: Path) -> str:
    """Return the Python stack of a process, or the reason why there is none, in whole sentences.

    Args:
        where: The process's node and pid, or None where it never came up.
        log: File that takes its stderr.
    """
    if where is None:
        return "Its process was never seen."
    size = size_of(log)
    state = _signal_on(*where)
    dump = _dumped(log, size)
    if dump:
        return f"Its Python stack:\n{working_thread(dump)}"
    return f"It wrote no stack: its process is {state}."


def _signal_on(node: str, pid: int) -> str:
    """Ask a process on a Ray node for its stack, and return its kernel state in words."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if node == ray.get_runtime_context().get_node_id():
        return ask_for_stack(pid)
    placed = ray.remote(ask_for_stack).options(
        num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
    )
    try:
        return ray.get(placed.remote(pid), timeout=DUMP_SECONDS)
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError):
        return "on a machine that does not answer"


def ask_for_stack(pid: int) -> str:
    """Send `DUMP_SIGNAL` to a Ray process of this machine and return its kernel state in words."""
    process = Path("/proc", str(pid))
    try:
        if not (process / "cmdline").read_bytes().startswith(b"ray::"):
            return "gone"  # the pid belongs to another process now
        os.kill(pid, DUMP_SIGNAL)
        letter = (process / "stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "gone"
    return {"T": "stopped (SIGSTOP)", "D": "waiting for a device (state D)", "Z": "dead"}.get(
        letter, f"in state {letter}"
    )


def _dumped(log: Path, size: int) -> str:
    """Return the text that was appended to a log of `size` bytes, after it has stopped growing; "" if nothing came."""
    deadline = time.monotonic() + DUMP_SECONDS
    last, changed = size, time.monotonic()
    while time.monotonic() < deadline and (last == size or time.monotonic() - changed < DUMP_SETTLED):
        time.sleep(0.05)
        if (now := size_of(log)) != last:
            last, changed = now, time.monotonic()
    if last == size:
        return ""
    with log.open("rb") as file:
        file.seek(size)
        return file.read().decode("utf-8", errors="replace")


def size_of(log: Path) -> int:
    """Return the size of a log in bytes. It is 0 before the log exists."""
    return log.stat().st_size if log.is_file() else 0


def working_thread(dump: str) -> str:
    """Return the innermost frames of the thread that runs this package's code, from a dump of `faulthandler`.

    A thread that waits for the engine's owner, and an owner without work, are shown if there is no other.
    """
    threads = [block.strip().splitlines() for block in dump.split("\n\n") if "most recent call first" in block]
    ours = [lines for lines in threads if any(PACKAGE in line for line in lines)]
    working = [lines for lines in ours if OWNER not in next(line for line in lines if PACKAGE in line)]
    shown = max(working or ours or threads, key=len, default=dump.strip().splitlines())
    frames = [line for line in shown if line.lstrip().startswith("File ")] or shown
    more = [f"  ... {len(frames) - FRAMES_SHOWN} more"] if len(frames) > FRAMES_SHOWN else []
    return "\n".join([*frames[:FRAMES_SHOWN], *more])
