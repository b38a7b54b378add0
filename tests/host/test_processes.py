"""Descendants of a driver are found wherever they are, and ended."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, signal, subprocess, sys, time
from autophage.host import processes

processes.adopt_orphans()
kept = subprocess.Popen(["sleep", "60"])
before = processes.descendants()
assert before == [kept.pid]
# A child that begins one of its own, says who it is, and is killed: the grandchild is an orphan.
child = subprocess.Popen([sys.executable, "-c", '''
import subprocess, time
print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
time.sleep(60)
'''], stdout=subprocess.PIPE, text=True)
orphan = int(child.stdout.readline())
assert {child.pid, orphan, kept.pid} == set(processes.descendants())
child.kill()
child.wait()
assert set(processes.descendants()) == {kept.pid, orphan}
os.kill(orphan, signal.SIGSTOP)  # it would not heed SIGTERM
began = time.monotonic()
assert processes.end_others(before, 0.3) == [orphan]
assert 0.3 <= time.monotonic() - began < 5
assert processes.descendants() == [kept.pid]
assert processes.end_others(before, 60) == []
processes.kill([kept.pid])
kept.wait()
# A process that was there before, such as a tracker's, may begin others later. They are its own.
kept = subprocess.Popen([sys.executable, "-c", '''
import subprocess, time
input()
print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
time.sleep(60)
'''], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
before = processes.descendants()
print(file=kept.stdin, flush=True)
below = int(kept.stdout.readline())
assert set(processes.descendants()) == {kept.pid, below}
assert processes.end_others(before, 0) == []
assert set(processes.descendants()) == {kept.pid, below}
processes.kill([below, kept.pid])
kept.wait()
processes.kill([kept.pid])  # nobody is there, and that is all right
print("good")
"""


def test_nobody_is_left_behind() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "good\n", done.stderr
