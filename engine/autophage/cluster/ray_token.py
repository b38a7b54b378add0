"""Checks that a Ray cluster requires a token. A run does not join a cluster of several machines without one.

Anyone who reaches an open Ray port can run code as Ray's user. The environment of this process does not show whether
the cluster requires a token. A driver with a token joins an open cluster too. The check joins with a wrong token, in a
process of its own.
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
"""Longest wait for the check. It is fast, but the import of Ray from a slow disk takes many seconds."""

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
    """Reaction of a cluster to a wrong token."""

    CLOSED = "closed"
    OPEN = "open"
    UNKNOWN = "unknown"
    """No answer. The cluster is not reachable, or its Ray is older than token authentication (2.52)."""


def require_token() -> None:
    """Check that the cluster which this process has just joined asks for a token.

    Raises:
        UserError: The cluster has several machines, or one that others reach, and requires no token.
    """
    import ray

    addresses = [str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]]
    if len(addresses) == 1 and is_loopback(addresses[0]):
        return
    head = str(ray.get_runtime_context().gcs_address)
    found = door(head)
    if found is not Door.CLOSED:
        said = "requires no token" if found is Door.OPEN else "does not say whether it requires a token"
        raise UserError(
            f"the Ray cluster at {head} ({len(addresses)} nodes) {said}. Anyone who reaches its ports can run code as you "
            "on all of its machines. Start Ray on each with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH (Ray 2.52 or newer; "
            "deploy/ shows how), or pass --insecure if nobody else is on its network."
        )


def door(address: str) -> Door:
    """Return the reaction of the cluster's head at `address` (HOST:PORT) to a wrong token."""
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
