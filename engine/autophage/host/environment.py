"""Environment variables of every process of a run, set before torch, vLLM and Ray are imported.

They switch telemetry off and keep connections to loopback. They start one thread per core, which sleeps after a short wait. They
run vLLM's engine in the sampler's process. A process that trains outside of Ray's actors also sees one GPU. This module imports
nothing heavy, because it runs first.
"""

from __future__ import annotations

import getpass
import os
import secrets

from autophage.host import bytecode, foreign_variables
from autophage.host.freed_memory import keep_freed_memory


def process_variables() -> dict[str, str]:
    """Return the environment variables of sampler and trainer processes, with their values.

    Values that the user has set take precedence (`apply`).
    """
    cores = str(len(os.sched_getaffinity(0)))
    return {
        # Two processes whose waiting threads spin on the same cores run 20 times slower.
        "OMP_NUM_THREADS": cores,
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        # A thread that sleeps at once must be woken for every operation. GNU's threads first wait for some 50 microseconds.
        "GOMP_SPINCOUNT": "2000",
        "TOKENIZERS_PARALLELISM": "false",
        # In the sampler's process the engine starts in seconds, and adapters are passed by reference.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # vLLM's memory profile would run FlashInfer's sampler, which is compiled on first use by nvcc and ninja. Without them
        # the engine does not start. Requests of a run are seeded or greedy, and never take that path.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Started by `uv run`, Ray would pack the working directory and start its workers by uv, without a word for minutes.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }


PASSED_ON = ("AUTOPHAGE_CACHE", "HF_HUB_OFFLINE")
"""Variables of the user that workers on other machines need too. No secret is passed on."""


def apply() -> None:
    """Set the variables of `process_variables` in this process, except those that are set already.

    A process without a home folder or a user's name, as in some containers, gets those that libraries insist on.
    """
    bytecode.keep()
    keep_freed_memory()
    for name, value in process_variables().items():
        os.environ.setdefault(name, value)
    home = os.environ.get("HOME") or os.path.expanduser("~")
    if (not os.path.isabs(home) or not os.access(home, os.W_OK)) and (cache := os.environ.get("AUTOPHAGE_CACHE")):
        os.environ["HOME"] = os.path.abspath(cache)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # torch's compiler and Ray ask for it
        os.environ["USER"] = str(os.getuid())


def alone() -> None:
    """Prepare a process that trains outside of Ray's actors: no variables of launchers, and one GPU."""
    foreign_variables.leave_behind()
    one_visible_gpu()


def one_visible_gpu() -> None:
    """Hide all GPUs of this process but the first. Call it before torch is imported, since CUDA forgets no GPU.

    TRL refuses to train where one process sees several GPUs. Ray shows each of its actors its own.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = first_gpu()


def first_gpu() -> str:
    """Return the value of `CUDA_VISIBLE_DEVICES` that shows only the first GPU of this process.

    It is the first entry as it stands: an index, the UUID of a GPU or of a MIG slice, or a value that hides every GPU.
    """
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()


def for_workers() -> dict[str, str]:
    """Return the variables of this process that its workers need but do not inherit, with their values."""
    names = [*process_variables(), *(name for name in PASSED_ON if name in os.environ)]
    return {name: os.environ[name] for name in names if name in os.environ}


def stay_on_loopback() -> None:
    """Make Ray use loopback.

    Without this variable Ray takes the machine's outside address, even if loopback is requested.
    """
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def isolate_ray() -> None:
    """Set variables that restrict a private Ray to this machine's loopback and require a token."""
    stay_on_loopback()
    os.environ.setdefault("RAY_worker_niceness", "0")  # keep the priority that the user gave the run
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
