"""The Ray of a run: a private one on this machine, loopback only and gone when the run is, or a cluster that is there.

Does not know which actors there are, what they do or where they are placed.
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
from typing import Any

from autophage.cluster.ray_token import require_token
from autophage.errors import RunError, UserError
from autophage.host import environment, processes

OBJECT_STORE_BYTES = 512 << 20
"""Adapters and corpora in transit; a generation of the largest shipped recipe is a few MB."""
LISTENER_SECONDS = 10.0
"""For a cluster's head to take a connection."""
STARTS, TOO_SLOW = 3, "timed out during startup"
"""How often a private Ray is started, where it says that it was too slow."""
LEAVE_SECONDS = 5.0
"""For Ray's processes and the actors to end after Ray was told to; what is left then is killed."""
LONGEST_TEMPORARY = 12
"""Characters of a temporary folder's path that leave room for Ray's sockets, whose paths may have 107."""
SCRATCH = "autophage-ray-"
"""Prefix of a run's temporary folder: Ray's session and whatever the actors put aside."""


@contextmanager
def ray_for(address: str | None, *, insecure: bool = False) -> Iterator[None]:
    """The Ray at `address` ("auto": the one that this machine is part of), or a private one; left or stopped on the way out.

    Raises:
        RunError: Ray itself failed under the run.
    """
    with local_ray() if address is None else joined_ray(address, insecure=insecure):
        import ray

        try:
            yield
        except ray.exceptions.RayError as error:
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(
                f"Ray failed under the run: {words} The same command goes on after the last commit."
            ) from error


@contextmanager
def joined_ray(address: str, *, insecure: bool = False) -> Iterator[None]:
    """Be a driver of a cluster that somebody else started and will stop; one that lets everybody in only if `insecure`.

    Raises:
        UserError: there is none at the address, it wants a token that is not given, or it asks nobody for one.
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
def local_ray() -> Iterator[None]:
    """Start Ray for this process and stop it on the way out, whatever happened."""
    environment.isolate_ray()  # before the import: Ray reads its variables once
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    _clear_abandoned(_temporary())
    processes.adopt_orphans()
    # Whatever goes wrong on the way out, as a second Ctrl-C in the middle of it, each of these is done.
    with ExitStack() as leaving:
        scratch = tempfile.mkdtemp(dir=_temporary(), prefix=f"{SCRATCH}{os.getpid()}-")
        leaving.callback(shutil.rmtree, scratch, ignore_errors=True)
        leaving.callback(_set_temporary, os.environ.get("TMPDIR"))
        _set_temporary(scratch)
        leaving.callback(processes.end_others, processes.descendants(), LEAVE_SECONDS)
        terminate = signal.getsignal(signal.SIGTERM)
        leaving.callback(ray.shutdown)
        _start(scratch)
        _keep_handler(terminate)
        yield


def _start(scratch: str) -> None:
    """Start Ray, which gives its own processes half a minute to come up: too little at times on a busy machine.

    Raises:
        RunError: they did not, `STARTS` times.
    """
    import ray

    others = processes.descendants()
    for _ in range(STARTS):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                _temp_dir=scratch,
            )
        except Exception as error:  # a bare one is what Ray raises
            if TOO_SLOW not in str(error):
                raise
            ray.shutdown()
            processes.end_others(others, LEAVE_SECONDS)
        else:
            return
    raise RunError(
        f"Ray's own processes did not come up within half a minute, {STARTS} times. Is this machine very busy? "
        "Nothing was lost: the same command goes on."
    )


def _set_temporary(folder: str | None) -> None:
    """Where this process's children put temporary files; None is where the system has them."""
    os.environ.pop("TMPDIR", None) if folder is None else os.environ.update(TMPDIR=folder)


def remove_scratch() -> None:
    """Remove this process's temporary folders, where what made them does not get to."""
    for folder in _temporary().glob(f"{SCRATCH}{os.getpid()}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _temporary() -> Path:
    """Where temporary folders of runs are: asked of `tempfile`, which remembers its first answer, or nearer to the root."""
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= LONGEST_TEMPORARY else "/tmp")


def _require_listener(address: str) -> None:
    """Raise `OSError` where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=LISTENER_SECONDS).close()


def _keep_handler(terminate: Any) -> None:
    """Ray puts a handler of its own over the caller's, which prints a native stack and leaves things behind."""
    if terminate is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)


def _clear_abandoned(parent: Path) -> None:
    """Remove what runs that were killed left in the temporary folder; the name holds the pid of the owner."""
    for folder in parent.glob(f"{SCRATCH}*"):
        owner = folder.name.removeprefix(SCRATCH).split("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
