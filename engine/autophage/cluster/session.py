"""The Ray of a run: a private one on loopback that ends with the run, or an existing cluster.

Does not know which actors there are or where they are placed.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from autophage.cluster.lean_ray import without_unused_processes
from autophage.cluster.ray_token import require_token
from autophage.errors import RunError, UserError
from autophage.host import environment, processes

if TYPE_CHECKING:
    from signal import _HANDLER

LISTENER_SECONDS = 10.0
"""Longest wait for a cluster's head to accept a connection."""
STARTS, TOO_SLOW = 3, "timed out during startup"
"""Number of starts of a private Ray, and the message with which it reports that a start was too slow."""
LEAVE_SECONDS = 5.0
"""Time for Ray's processes and the actors to end by themselves. Those that are left are killed."""
LONGEST_TEMPORARY = 12
"""Longest path of a temporary folder. Ray puts sockets into it, whose paths may have 107 characters."""
SCRATCH = "autophage-ray-"
"""Prefix of a run's temporary folder, which holds Ray's session and temporary files of the actors."""


@contextmanager
def ray_for(address: str | None, *, store_bytes: int, insecure: bool = False) -> Iterator[None]:
    """Join the Ray at `address`, or start a private one where it is None. Leave or stop it after the body.

    Args:
        address: HOST:PORT, or "auto" for the Ray that this machine is part of.
        store_bytes: Size of a private Ray's object store.
        insecure: Also join a cluster that requires no token.

    Raises:
        RunError: Ray itself failed during the run.
    """
    with local_ray(store_bytes) if address is None else joined_ray(address, insecure=insecure):
        import ray

        try:
            yield
        except ray.exceptions.RayError as error:
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(
                f"Ray failed during the run: {words} The same command resumes after the last commit."
            ) from error


@contextmanager
def joined_ray(address: str, *, insecure: bool = False) -> Iterator[None]:
    """Join the existing cluster at `address` (HOST:PORT or "auto") as a driver, and leave it after the body.

    Args:
        insecure: Also join a cluster that requires no token.

    Raises:
        UserError: There is no cluster at the address, it requires a token that is not given, or it requires none.
    """
    if address.rpartition(":")[0] in ("127.0.0.1", "localhost"):
        environment.stay_on_loopback()
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        _require_listener(address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            runtime_env={"env_vars": environment.for_workers()},
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster can be joined there ({str(error).strip().splitlines()[0]}). "
            "Start one (`ray start --head`), and give this process its token: RAY_AUTH_MODE=token with RAY_AUTH_TOKEN_PATH."
        ) from error
    try:
        _keep_handler(terminate)
        if not insecure:
            require_token()
        yield
    finally:
        ray.shutdown()


@contextmanager
def local_ray(store_bytes: int) -> Iterator[None]:
    """Start a private Ray for this process, and stop it after the body in any case.

    Args:
        store_bytes: Size of its object store.
    """
    environment.isolate_ray()  # before the import, since Ray reads its variables once
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    _clear_abandoned(_temporary())
    processes.adopt_orphans()
    # Each of these runs, even where another fails or a second Ctrl-C interrupts it.
    with ExitStack() as leaving:
        scratch = tempfile.mkdtemp(dir=_temporary(), prefix=f"{SCRATCH}{os.getpid()}-")
        leaving.callback(shutil.rmtree, scratch, ignore_errors=True)
        leaving.callback(_set_temporary, os.environ.get("TMPDIR"))
        _set_temporary(scratch)
        leaving.callback(processes.end_others, processes.descendants(), LEAVE_SECONDS)
        terminate = signal.getsignal(signal.SIGTERM)
        leaving.callback(ray.shutdown)
        _start(scratch, store_bytes)
        _keep_handler(terminate)
        yield


def _start(scratch: str, store_bytes: int) -> None:
    """Start Ray with its files in `scratch`, again where it was too slow.

    Ray gives its processes half a minute, too little on a busy machine.

    Raises:
        RunError: Ray was too slow `STARTS` times.
    """
    import ray

    others = processes.descendants()
    for _ in range(STARTS):
        try:
            with without_unused_processes():
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                    object_store_memory=store_bytes,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=scratch,
                )
        except Exception as error:  # Ray raises a bare one
            if TOO_SLOW not in str(error):
                raise
            ray.shutdown()
            processes.end_others(others, LEAVE_SECONDS)
        else:
            return
    raise RunError(
        f"Ray did not start within half a minute, in {STARTS} attempts. The machine may be very busy. "
        "Nothing was lost, and the same command resumes."
    )


def _set_temporary(folder: str | None) -> None:
    """Set the folder for temporary files of child processes. None restores the system's."""
    os.environ.pop("TMPDIR", None) if folder is None else os.environ.update(TMPDIR=folder)


def remove_scratch() -> None:
    """Remove this process's temporary folders where `local_ray` cannot."""
    for folder in _temporary().glob(f"{SCRATCH}{os.getpid()}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _temporary() -> Path:
    """Return the folder for runs' temporary folders: that of `tempfile`, or /tmp where its path is too long.

    `tempfile` remembers its first answer, so a later TMPDIR does not change it.
    """
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= LONGEST_TEMPORARY else "/tmp")


def _require_listener(address: str) -> None:
    """Raise `OSError` if no process listens at HOST:PORT. Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=LISTENER_SECONDS).close()


def _keep_handler(terminate: _HANDLER) -> None:
    """Restore the caller's SIGTERM handler. Ray's own prints a native stack and leaves processes behind."""
    if terminate is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)


def _clear_abandoned(parent: Path) -> None:
    """Remove temporary folders of runs that were killed. A folder's name holds the pid of its owner."""
    for folder in parent.glob(f"{SCRATCH}*"):
        owner = folder.name.removeprefix(SCRATCH).split("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
