"""Fault points do nothing by themselves, and do exactly one thing when they are armed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autophage.store import fault_points as faultpoints

REACH = "from autophage.store.fault_points import reach; [reach('write', n) for n in range(5)]; print('alive')"


def run(fault: str | None) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != faultpoints.VARIABLE}
    if fault is not None:
        variables[faultpoints.VARIABLE] = fault
    return subprocess.run([sys.executable, "-c", REACH], env=variables, capture_output=True, text=True, check=False)


def steps(trace: Path) -> list[str]:
    return [line.partition(" ")[2] for line in trace.read_text("utf-8").splitlines()]


def test_points_are_off_unless_they_are_asked_for() -> None:
    assert run(None).stdout == "alive\n"


def test_nought_only_counts(tmp_path: Path) -> None:
    assert run(f"0:{tmp_path / 'trace'}").stdout == "alive\n"
    assert steps(tmp_path / "trace") == [f"write {number}" for number in range(5)]


def test_the_point_of_that_number_kills_whichever_process_reaches_it(tmp_path: Path) -> None:
    fault = f"7:{tmp_path / 'trace'}"
    assert run(fault).returncode == 0
    assert run(fault).returncode == -signal.SIGKILL
    assert len(steps(tmp_path / "trace")) == 7
    assert run(fault).returncode == 0, "it kills once"


def test_a_write_that_was_not_synced_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    child = os.fork()
    if child == 0:
        faultpoints.arm(faultpoints.CrashPoint(2, tmp_path / "trace"))
        faultpoints.reach("write", path, torn=path)
        faultpoints.reach("write", path, torn=path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() == b"0123456789"[: -faultpoints.TORN_BYTES]


@pytest.mark.parametrize("value", ["", "3", "nonsense"])
def test_a_variable_without_a_trace_arms_nothing(value: str) -> None:
    assert run(value).stdout == "alive\n"
