"""A run that is killed at any moment and resumed ends with the corpora of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

AUTOPHAGE = [sys.executable, "-m", "autophage"]
Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def processes_of(run: Path) -> list[int]:
    """Return living processes that have a file of this run open or name it on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                opened = [os.readlink(link) for link in (entry / "fd").iterdir()]
            except OSError:
                continue
            if any(str(run) in target for target in opened):
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.long)])
def test_killed_again_and_again(
    smoke_run: Path, contents: Contents, autophage: Run, variables: dict[str, str], tmp_path: Path, kills: int
) -> None:
    out = tmp_path / "killed"
    command = [*AUTOPHAGE, "run", "smoke", "--out", str(out)]
    rng = random.Random(7)
    for _ in range(kills):
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # The history grows with every stage, so a random further line is a random stage; a little later is inside of it.
        lines = rng.randrange(1, 14)
        before = _lines(out)
        while process.poll() is None and _lines(out) < before + lines:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 30
    while processes_of(out) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(out) == [], "the killed run left processes behind"
    done = autophage("run", "smoke", "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(out) == contents(smoke_run)
    verified = autophage("verify", out)
    assert verified.returncode == 0, verified.stdout
    assert list(out.rglob("*.partial")) == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.long
def test_ctrl_c_and_sigterm_end_with_130_and_go_on(
    stop: signal.Signals, smoke_run: Path, contents: Contents, autophage: Run, variables: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    command = [*AUTOPHAGE, "run", "smoke", "--out", str(out)]
    process = subprocess.Popen(
        command,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    )
    while process.poll() is None and _lines(out) < 12:
        time.sleep(0.05)
    os.killpg(process.pid, stop) if stop is signal.SIGINT else process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert autophage("run", "smoke", "--out", out).returncode == 0
    assert contents(out) == contents(smoke_run)


def _heed_interrupts() -> None:
    """Restore SIGINT, which children of a shell's background job ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _lines(run: Path) -> int:
    history = run / "events.jsonl"
    return history.read_bytes().count(b"\n") if history.is_file() else 0
