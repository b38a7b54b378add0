"""A run in a process of its own, with its history and its processes, for tests that disturb it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AUTOPHAGE = [sys.executable, "-m", "autophage"]
MARK = "AUTOPHAGE_TEST_WATCHED"


def heed_interrupts() -> None:
    """Restore SIGINT, which children of a shell's background job ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def begun(
    out: Path, variables: dict[str, str], *settings: str, recipe: str = "smoke"
) -> Iterator[subprocess.Popen[str]]:
    """Start a run whose descendants all carry a mark. It is killed at the end."""
    process = subprocess.Popen(
        [*AUTOPHAGE, "run", recipe, "--out", str(out), *(word for one in settings for word in ("--set", one))],
        env={**variables, MARK: str(out)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def history(out: Path) -> list[dict[str, Any]]:
    path = out / "events.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def wait_for(process: subprocess.Popen[str], out: Path, when: Callable[[list[dict[str, Any]]], bool]) -> None:
    while process.poll() is None and not when(history(out)):
        time.sleep(0.02)


def marked(out: Path) -> dict[int, str]:
    """Return the command lines of the living processes of the run at `out`, by pid."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={out}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def actor(out: Path, kind: str) -> int:
    """Return the pid of the run's sampler or trainer. Ray names a process after its task: `ray::SamplerActor.sample`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for pid, command in marked(out).items():
            if command.startswith(f"ray::{kind}"):
                return pid
        time.sleep(0.05)
    raise AssertionError(f"no {kind} among {marked(out)}")
