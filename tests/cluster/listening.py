"""The sockets on which a process and its descendants listen, as a port scan would find them. Read from /proc."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

LISTENING = "0A"
SOCKET = re.compile(r"socket:\[(\d+)\]")


class Listener(NamedTuple):
    address: str
    port: int
    pid: int

    @property
    def outside(self) -> bool:
        """True if other machines can reach the socket."""
        return not ipaddress.ip_address(self.address).is_loopback


def listeners(root: int) -> set[Listener]:
    """Return the TCP sockets on which `root` and its descendants listen."""
    owners = {inode: pid for pid in tree(root) for inode in _sockets(pid)}
    return {
        Listener(address, port, owners[inode])
        for table in ("tcp", "tcp6")
        for inode, address, port in _listening(Path("/proc/net", table).read_text("ascii").splitlines()[1:])
        if inode in owners
    }


def tree(root: int) -> set[int]:
    """Return `root` and its descendants. Ray's daemons leave their session, but not their living parents."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it ended between listing and looking
    found, added = {root}, True
    while added:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        added = bool(more)
    return found


def _sockets(pid: int) -> set[str]:
    inodes = set()
    try:
        for link in Path("/proc", str(pid), "fd").iterdir():
            try:
                if match := SOCKET.fullmatch(os.readlink(link)):
                    inodes.add(match[1])
            except OSError:
                continue
    except OSError:
        pass
    return inodes


def _listening(lines: Iterable[str]) -> Iterable[tuple[str, str, int]]:
    for line in lines:
        words = line.split()
        if words[3] == LISTENING:
            host, _, port = words[1].rpartition(":")
            yield words[9], _address(host), int(port, 16)


def _address(digits: str) -> str:
    """Parse an address of /proc: words of 32 bits in the machine's byte order."""
    content = b"".join(bytes.fromhex(digits[start : start + 8])[::-1] for start in range(0, len(digits), 8))
    address = ipaddress.ip_address(content)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
