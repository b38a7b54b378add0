"""The private Ray of a run: on loopback alone, and gone with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = """
from autophage import environment
environment.apply()
import os, sys, tempfile
from pathlib import Path
from autophage.cluster import local_ray


def listening():
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {words[1] for words in lines if words[3] == "0A"}


before = listening()
with local_ray():
    import ray

    assert ray.get(ray.remote(lambda: os.environ["OMP_WAIT_POLICY"].upper()).remote()) == "PASSIVE"
    opened = listening() - before
    assert opened, "Ray listens nowhere?"
    outside = [address for address in opened if not address.endswith("7F:" + address[-4:]) or "0100007F" not in address]
    assert not outside, f"reachable from outside: {outside}"
assert not list(Path(tempfile.gettempdir()).glob(f"autophage-ray-{os.getpid()}-*"))
print("closed")
"""


def test_ray_listens_on_loopback_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip().endswith("closed"), done.stderr[-2000:]
