"""Locks between processes: one writer of a run directory, one maker of a cached model.

The kernel's lock (flock) ends with the process that holds it, however that ends. Some file systems have none (FUSE, some
NFS and WSL mounts). There a file beside the lock names its owner: machine, pid and the start of the process. The owner
of this machine is asked for. One of another machine cannot be, so its file stands until a person removes it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from autophage.errors import UserError
from autophage.store.atomic import named
from autophage.store.fault_points import reach

TRIES, PAUSE = 3, 0.1
UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""Error numbers of a file system without locks."""
OWNER = ".owner"
"""Suffix of the file that names the owner where the file system has no locks."""


class RunLock:
    """Lock that lets one process write a run directory.

    Raises:
        UserError: On entering, if another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note = ""
        """Message for the user if the file system has no locks."""
        self._file: IO[str] | None = None
        self._owned: Path | None = None

    def __enter__(self) -> RunLock:
        file = self.path.open("a+", encoding="utf-8")
        try:
            if not _locked(file):
                file.seek(0)
                raise UserError(_busy(self.path.parent, file.read().strip() or "unknown"))
        except OSError as error:
            file.close()
            if error.errno not in UNSUPPORTED:
                raise named(error, self.path) from error
            self._owned = _own(self.path)
            self.note = (
                f"the file system of {self.path.parent} has no locks (flock: {os.strerror(error.errno)}). "
                f"{self._owned.name} stands for one; nobody else must write this run from another machine"
            )
        except UserError:
            file.close()
            raise
        else:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self._file = file
        reach("lock", self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None
        if self._owned is not None:
            self._owned.unlink(missing_ok=True)
            self._owned = None


def _busy(folder: Path, owner: str) -> str:
    return (
        f"{folder}: another process (pid {owner}) is writing this run. "
        "Wait for it, stop it, or give another --out; `autophage watch` shows its progress."
    )


def _locked(file: IO[str]) -> bool:
    """Take the lock and return True; False if another process keeps it.

    `is_locked` holds the lock for an instant, so a refusal is retried.
    """
    for _ in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
        else:
            return True
    return False


def is_locked(path: Path) -> bool:
    """Return True if a living process holds the lock file `path`, and so writes the run."""
    if not path.is_file():
        return False
    with path.open("r", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise named(error, path) from error
            return _lives(_owner_of(path))
        fcntl.flock(file, fcntl.LOCK_UN)
    return _lives(_owner_of(path))


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold the lock file `path` during the body, and wait for it before. Without locks, the body runs at once."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise named(error, path) from error
        yield


def _own(path: Path) -> Path:
    """Make the owner's file of this process, and return its path. The file of a dead process is taken over."""
    owner = path.with_name(path.name + OWNER)
    mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())})
    for _ in range(TRIES):
        try:
            descriptor = os.open(owner, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            found = _owner_of(path)
            if _lives(found):
                host, pid = str(found["host"]), str(found["pid"])
                if host == socket.gethostname():
                    raise UserError(_busy(path.parent, pid)) from None
                raise UserError(
                    f"{path.parent}: process {pid} of {host} is writing this run, or died there. If it is gone, remove {owner}."
                ) from None
            owner.unlink(missing_ok=True)
        else:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(mine)
            return owner
    raise UserError(f"{owner}: other processes keep taking this lock. Start one run at a time.")


def _owner_of(path: Path) -> dict[str, object]:
    """Return what the owner's file beside the lock file `path` says; empty if it says nothing."""
    try:
        found = json.loads(path.with_name(path.name + OWNER).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and {"host", "pid", "started"} <= set(found) else {}


def _lives(owner: dict[str, object]) -> bool:
    """Return True unless the owner is a process of this machine that has ended. No owner does not live."""
    if not owner:
        return False
    if owner["host"] != socket.gethostname():
        return True
    started = _started(int(str(owner["pid"])))
    return started is not None and started == owner["started"]


def _started(pid: int) -> int | None:
    """Return the start of a process of this machine in clock ticks since boot; None if there is no such process.

    Pids are used again. Their starts differ.
    """
    try:
        stat = Path("/proc", str(pid), "stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])
