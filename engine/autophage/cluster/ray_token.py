"""Does a Ray cluster ask everybody for its token? Where it spans machines and does not, a run does not join it.

Whoever reaches an open Ray port can run code as the user that Ray runs as. What this process has in its environment says
nothing about what the cluster asks of others: a driver with a token joins an open cluster without a word. So the cluster is
asked by a process that shows a wrong one.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import subprocess
import sys
from enum import Enum

from autophage.errors import UserError

PROBE_SECONDS = 60.0
"""Importing Ray takes seconds, from a slow disk many; the question itself takes none."""

_PROBE = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=10)
    print("open")
except AuthenticationError:
    print("closed")
"""


class Door(Enum):
    CLOSED = "closed"
    OPEN = "open"
    UNKNOWN = "unknown"
    """No answer: not reachable from here, or a Ray of before token authentication (2.52)."""


def require_token() -> None:
    """Look at the cluster that this process has just joined.

    Raises:
        UserError: it has several machines, or one that others reach, and lets in whoever comes.
    """
    import ray

    addresses = [str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]]
    if len(addresses) == 1 and is_loopback(addresses[0]):
        return
    head = str(ray.get_runtime_context().gcs_address)
    found = door(head)
    if found is not Door.CLOSED:
        said = "lets in whoever comes" if found is Door.OPEN else "does not say whether it asks for a token"
        raise UserError(
            f"the Ray cluster at {head} ({len(addresses)} nodes) {said}: whoever reaches its ports can run code as you on every "
            "machine of it. Start it with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH on all of them (Ray 2.52 or newer; "
            "deploy/ shows how), or say --insecure if nobody else is on its network."
        )


def door(address: str) -> Door:
    """What the cluster's head at `address` answers to a stranger."""
    strange = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    strange |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [sys.executable, "-c", _PROBE, address]
    try:
        done = subprocess.run(command, env=strange, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Door.UNKNOWN
    words = done.stdout.split()
    return Door(words[-1]) if words and words[-1] in ("open", "closed") else Door.UNKNOWN


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
