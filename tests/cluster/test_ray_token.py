"""A run joins an open cluster that others can reach only if the user asks for it."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from autophage.cluster import ray_token
from autophage.cluster.ray_token import Door, is_loopback

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CLUSTER = """
from autophage.host import environment
environment.apply()
environment.stay_on_loopback()
import os, sys
from ray.cluster_utils import Cluster
from autophage.cluster.session import joined_ray
from autophage.errors import UserError
from autophage.cluster.ray_token import door

os.makedirs("/tmp/ray", exist_ok=True)  # where these utilities note the address
node = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args={**node, "temp_dir": sys.argv[1], "include_dashboard": False})
print("door", door(cluster.address).value)
with joined_ray(cluster.address):
    print("alone joined")
cluster.add_node(**node)
try:
    with joined_ray(cluster.address):
        print("together joined")
except UserError as error:
    print("refused:", error)
with joined_ray(cluster.address, insecure=True):
    print("insecure joined")
cluster.shutdown()
"""


def said(variables: dict[str, str], place: Path) -> str:
    command = [sys.executable, "-c", CLUSTER, str(place)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=280)
    assert "insecure joined" in done.stdout, done.stderr[-2000:]
    return done.stdout


def test_an_open_cluster_of_several_nodes_is_refused(variables: dict[str, str], short: Path) -> None:
    """A driver with a token does not join an open cluster either."""
    output = said({**variables, "RAY_AUTH_MODE": "disabled"}, short)
    assert "door open" in output
    assert "alone joined" in output
    assert "together joined" not in output
    assert "refused: the Ray cluster at 127.0.0.1" in output
    assert "(2 nodes) requires no token" in output
    assert "--insecure" in output


def test_a_cluster_that_asks_for_a_token_is_joined(variables: dict[str, str], short: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32), encoding="ascii")
    output = said({**variables, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}, short)
    assert "door closed" in output
    assert "alone joined" in output
    assert "together joined" in output


def test_where_nobody_answers_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_token, "_PROBE", "print('warming up')")
    assert ray_token.door("127.0.0.1:1") is Door.UNKNOWN
    monkeypatch.setattr(ray_token, "_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(ray_token, "PROBE_SECONDS", 0.5)
    assert ray_token.door("127.0.0.1:1") is Door.UNKNOWN


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("head", False),
    ],
)
def test_what_is_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
