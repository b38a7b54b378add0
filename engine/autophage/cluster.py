"""A private Ray on this machine for the time of a run: loopback only, token-protected, gone when the run is.

Knows Ray; does not know what its actors do.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autophage.actors import SamplerActor, TrainerActor
from autophage.errors import AutophageError, RunError, UserError
from autophage.recipe.schema import Recipe

OBJECT_STORE_BYTES = 512 << 20
"""Adapters and corpora in transit; a generation of the largest shipped recipe is a few MB."""
CALL_SECONDS = 1800.0
"""Deadline of a call that reports no progress. Loading the largest models from a slow disk takes minutes."""
PROGRESS_SECONDS = 10.0
LONGEST_TEMPORARY = 12
"""Characters of a temporary folder's path that leave room for Ray's sockets, whose paths may have 107."""
SCRATCH = "autophage-ray-"
"""Prefix of a run's temporary folder: Ray's session and whatever the actors put aside."""
GPU_SHARES = {"serial": 0.5, "colocated": 0.5, "disjoint": 1.0}


@contextmanager
def local_ray() -> Iterator[None]:
    """Start Ray for this process and stop it on the way out, whatever happened."""
    import ray

    parent = tempfile.gettempdir() if len(tempfile.gettempdir()) <= LONGEST_TEMPORARY else "/tmp"
    _clear_abandoned(Path(parent))
    scratch = Path(tempfile.mkdtemp(dir=parent, prefix=f"{SCRATCH}{os.getpid()}-"))
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(scratch)
    logging.getLogger("ray").setLevel(logging.ERROR)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(scratch),
        )
        # Ray puts a handler of its own over the caller's, which prints a native stack and leaves things behind.
        if terminate is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)
        yield
    finally:
        ray.shutdown()
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        shutil.rmtree(scratch, ignore_errors=True)


def _clear_abandoned(parent: Path) -> None:
    """Remove what runs that were killed left in the temporary folder; the name holds the pid of the owner."""
    for folder in parent.glob(f"{SCRATCH}*"):
        owner = folder.name.removeprefix(SCRATCH).split("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


def start_actors(recipe: Recipe, logs: Path) -> tuple[Any, Any]:
    """Handles of the trainer and the sampler. On a GPU each takes its share of a device; without one they share cores.

    Raises:
        UserError: the GPUs that the recipe asks for are not here.
    """
    import ray

    gpus = ray.cluster_resources().get("GPU", 0.0)
    share = GPU_SHARES[recipe.devices] if gpus else 0.0
    if 2 * share > gpus:
        raise UserError(
            f'devices = "{recipe.devices}" takes {2 * share:g} GPUs and this machine has {gpus:g}. '
            'Use devices = "colocated" or "serial", which share one.'
        )
    options: Any = {"num_cpus": 0, "num_gpus": share, "max_restarts": 0, "concurrency_groups": {"watch": 1}}
    trainer = ray.remote(**options)(TrainerActor).remote(recipe.model_dump_json(), str(logs / "trainer.log"))
    sampler = ray.remote(**options)(SamplerActor).remote(str(logs / "sampler.log"))
    return trainer, sampler


def fetch(reference: Any, who: str, logs: Path, *, seconds: float = CALL_SECONDS) -> Any:
    """The result behind a reference; errors come out as the actor raised them, and a dead or hung actor is named.

    Raises:
        AutophageError: as raised in the actor.
        RunError: the actor died, did not answer in `seconds`, or failed in a way nobody foresaw; its log says more.
    """
    import ray

    try:
        return ray.get(reference, timeout=seconds)
    except ray.exceptions.GetTimeoutError as error:
        raise RunError(
            f"the {who} did not answer within {seconds:.0f} s and was given up. Its log: {logs / (who + '.log')}. "
            "The same command goes on after the last commit."
        ) from error
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, AutophageError):
            raise cause from None
        raise RunError(
            f"the {who} failed: {type(cause).__name__}: {cause}. Its log: {logs / (who + '.log')}"
        ) from error
    except ray.exceptions.RayActorError as error:
        raise RunError(
            f"the {who} died while working (out of memory, or killed). Its log: {logs / (who + '.log')}. "
            "The same command goes on after the last commit."
        ) from error


def latest_progress(actor: Any, before: Any) -> Any:
    """What the actor says of its progress; `before` where it does not get to answer, as when its process is stopped."""
    import ray

    try:
        return ray.get(actor.progress.options(concurrency_group="watch").remote(), timeout=PROGRESS_SECONDS)
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
        return before  # of a dead actor the stage's own result says that it died, and which one
