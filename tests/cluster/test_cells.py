"""Several cells on several nodes divide the arms. A node that dies leaves its arms to the others."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FOUR_ARMS = ["--set", "sweep={'mix.alpha' = [1.0, 0.5, 0.25]}", "--set", "sample.concurrency=100"]

NODES = """
from autophage.host import environment
environment.apply()
environment.stay_on_loopback()
import os, sys
from ray.cluster_utils import Cluster
place = sys.argv[1]
os.makedirs("/tmp/ray", exist_ok=True)  # where these utilities note the address
node = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args={**node, "temp_dir": place, "include_dashboard": False})
gpus = int(sys.argv[2])
other = cluster.add_node(**{**node, "num_cpus": max(1, 2 * gpus), "num_gpus": gpus})
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(other, allow_graceful=False)
    print("gone", flush=True)
cluster.shutdown()
"""


@contextmanager
def two_nodes(variables: dict[str, str], place: Path, gpus: int = 0) -> Iterator[tuple[str, Callable[[], None]]]:
    """Start two Ray nodes of one core each, of which the second declares `gpus` GPUs.

    Yields their address and a function that kills the one without the head.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", NODES, str(place), str(gpus)],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output, orders = process.stdout, process.stdin

    def kill() -> None:
        orders.write("kill\n")
        orders.flush()
        assert output.readline().strip() == "gone"

    try:
        yield output.readline().strip(), kill
    finally:
        orders.close()
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def token(variables: dict[str, str], tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "token"
    file.write_text(secrets.token_hex(32), encoding="ascii")
    file.chmod(0o600)
    return {**variables, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file)}


@pytest.fixture(scope="module")
def one_cell(autophage: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "one-cell"
    done = autophage("run", "smoke", *FOUR_ARMS, "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def cells_of(run: Path) -> dict[str, set[str]]:
    """Return the arms that each cell has worked on, from the history."""
    found: dict[str, set[str]] = {}
    for line in (run / "events.jsonl").read_text("utf-8").splitlines():
        event = json.loads(line)
        if "cell" in event:
            found.setdefault(event["cell"], set()).add(event["arm"])
    return found


@pytest.mark.long
def test_two_cells_make_what_one_makes(
    one_cell: Path, contents: Contents, token: dict[str, str], short: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two"
    with two_nodes(token, short) as (address, _):
        command = [sys.executable, "-m", "autophage", "run", "smoke", *FOUR_ARMS, "--set", "cluster.cells=2"]
        done = subprocess.run(
            [*command, "--address", address, "--out", str(out)], env=token, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
    divided = cells_of(out)
    assert sorted(map(len, divided.values())) == [2, 2]
    assert contents(out) == contents(one_cell)


@pytest.mark.long
def test_two_cells_on_one_gpu_make_what_one_makes(
    one_cell: Path, contents: Contents, token: dict[str, str], short: Path, tmp_path: Path
) -> None:
    """Ray counts a GPU that is not there. The actors compute on the CPU, each in its fraction of the GPU."""
    out = tmp_path / "shared"
    sharing = ["--set", "cluster.cells=2", "--set", "cluster.cells_per_gpu=2", "--set", "devices=serial"]
    with two_nodes(token, short, gpus=1) as (address, _):
        command = [sys.executable, "-m", "autophage", "run", "smoke", *FOUR_ARMS, *sharing]
        done = subprocess.run(
            [*command, "--address", address, "--out", str(out)], env=token, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(map(len, cells_of(out).values())) == [2, 2]
    assert contents(out) == contents(one_cell)


@pytest.mark.long
def test_a_node_that_dies_hands_its_arms_on(
    one_cell: Path, contents: Contents, token: dict[str, str], short: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    with two_nodes(token, short) as (address, kill):
        command = [sys.executable, "-m", "autophage", "run", "smoke", *FOUR_ARMS, "--set", "cluster.cells=2"]
        process = subprocess.Popen(
            [*command, "--address", address, "--out", str(out)],
            env=token,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        history = out / "events.jsonl"
        while process.poll() is None and not (history.is_file() and '"commit"' in history.read_text("utf-8")):
            time.sleep(0.05)
        kill()
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-2000:]
    assert "is lost" in history.read_text("utf-8")
    assert contents(out) == contents(one_cell)


def test_what_cannot_be_placed_is_said_at_once(autophage: Run, tmp_path: Path) -> None:
    began = time.monotonic()
    done = autophage(
        "run", "smoke", "--out", tmp_path / "run", "--set", "cluster.cells=3", "--set", "cluster.cpus=4000"
    )
    assert done.returncode == 2
    assert "each cell needs 4000 cores" in done.stderr
    assert "Available:" in done.stderr
    assert time.monotonic() - began < 60
    assert not (tmp_path / "run").exists()


def test_an_address_without_a_cluster_is_told(autophage: Run, tmp_path: Path) -> None:
    done = autophage("run", "smoke", "--out", tmp_path / "run", "--address", "127.0.0.1:1")
    assert done.returncode == 2, done.stderr
    assert "no Ray cluster can be joined" in done.stderr
    assert "Traceback" not in done.stderr
