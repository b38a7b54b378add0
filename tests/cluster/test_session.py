"""A private Ray is on loopback alone and ends with its run. A cluster's Ray leaves the run its signals."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = """
from autophage.host import environment
environment.apply()
import os, sys, tempfile
from pathlib import Path
from autophage.cluster.session import local_ray
from autophage.host import processes


def listening():
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {words[1] for words in lines if words[3] == "0A"}


before = listening()
with local_ray(512 << 20):
    import ray

    assert ray.get(ray.remote(lambda: os.environ["OMP_WAIT_POLICY"].upper()).remote()) == "PASSIVE"
    opened = listening() - before
    assert opened, "Ray listens nowhere?"
    outside = [address for address in opened if not address.endswith("7F:" + address[-4:]) or "0100007F" not in address]
    assert not outside, f"reachable from outside: {outside}"
    commands = [Path("/proc", str(pid), "cmdline").read_text() for pid in processes.descendants()]
    assert any("raylet" in command for command in commands)
    idle = [command for command in commands if "dashboard.py" in command or "monitor.py" in command]
    assert not idle, f"nobody asks these: {idle}"
assert not list(Path(tempfile.gettempdir()).glob(f"autophage-ray-{os.getpid()}-*"))
print("closed")
"""


def test_ray_listens_on_loopback_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip().endswith("closed"), done.stderr[-2000:]


SLOW = """
from autophage.host import environment
environment.apply()
import sys
from autophage.host import processes
from autophage.cluster.session import local_ray

failures, isolate = int(sys.argv[1]), environment.isolate_ray
seen = []


def isolated():
    isolate()  # Ray reads its variables when it is imported
    from ray._private import services

    get_node = services.get_node

    def late(*arguments):
        raised = failures > len(seen)
        seen.append(len(processes.descendants()))
        if raised:
            raise Exception("The current node timed out during startup.")
        return get_node(*arguments)

    services.get_node = late


environment.isolate_ray = isolated
try:
    with local_ray(512 << 20):
        import ray

        print("up", ray.get(ray.remote(lambda: 7).remote()))
except Exception as error:
    print(type(error).__name__, error)
print(processes.descendants(), all(seen))
"""


@pytest.mark.parametrize(
    ("failures", "said"),
    [(1, "up 7"), pytest.param(3, "RunError Ray did not start", marks=pytest.mark.long)],
)
def test_a_ray_that_is_slow_to_start_is_started_again(failures: int, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(failures)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    first, last = done.stdout.strip().splitlines()
    assert first.startswith(said), done.stdout + done.stderr[-2000:]
    assert last == "[] True", "processes of a start that failed are left"


JOINED = """
from autophage.host import environment
environment.apply()
environment.stay_on_loopback()
import os, signal, sys, time
from ray.cluster_utils import Cluster
from autophage.cluster.session import joined_ray


class Told(Exception):
    pass


def tell(*_):
    raise Told


os.makedirs("/tmp/ray", exist_ok=True)  # where these utilities note the address
head = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "temp_dir": sys.argv[1], "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
signal.signal(signal.SIGTERM, tell)
try:
    with joined_ray(cluster.address):
        import ray

        assert ray.is_initialized()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
except Told:
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) is tell
    print("told", flush=True)
cluster.shutdown()
"""


def test_sigterm_on_a_cluster_is_the_callers(variables: dict[str, str], short: Path, tmp_path: Path) -> None:
    """Ray's own handler would end the process at once, before the run records that it was stopped."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32), encoding="ascii")
    variables = {**variables, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    command = [sys.executable, "-c", JOINED, str(short)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert "told" in done.stdout, done.stderr[-2000:]
