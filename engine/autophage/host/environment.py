"""The environment variables that every process of a run has, set before torch, vLLM and Ray are imported.

No telemetry, loopback only, one thread per core that sleeps while it waits long, vLLM's engine inside its own process.
Imports nothing heavy: it runs first.
"""

from __future__ import annotations

import os
import secrets


def process_variables() -> dict[str, str]:
    """What sampler and trainer processes need. Values that the user has set already win in `apply`."""
    cores = str(len(os.sched_getaffinity(0)))
    return {
        # Two processes that spin on the same cores while waiting run 20 times slower.
        "OMP_NUM_THREADS": cores,
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        # But one that sleeps at once is woken for every operation of a step: GNU's threads wait some 50 microseconds first.
        "GOMP_SPINCOUNT": "2000",
        "TOKENIZERS_PARALLELISM": "false",
        # The engine runs inside the sampler's process: adapters travel by reference, and it starts in seconds.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


PASSED_ON = ("AUTOPHAGE_CACHE", "HF_HUB_OFFLINE")
"""What a user may have set for a run and its workers on other machines need too. Nothing secret is passed on."""


def apply() -> None:
    """Set the variables in this process."""
    for name, value in process_variables().items():
        os.environ.setdefault(name, value)


def for_workers() -> dict[str, str]:
    """The variables as this process has them, for processes that do not inherit them."""
    names = [*process_variables(), *(name for name in PASSED_ON if name in os.environ)]
    return {name: os.environ[name] for name in names if name in os.environ}


def stay_on_loopback() -> None:
    """Ray takes the machine's outside address, even where loopback is asked for, unless it is told not to form clusters."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def isolate_ray() -> None:
    """Keep a private Ray to this machine's loopback, with a token that it asks of everybody."""
    stay_on_loopback()
    os.environ.setdefault("RAY_worker_niceness", "0")  # a run has the priority that its user gave it
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
