"""Tensor parallelism: one model over several vLLM workers of one machine, each with a slice of every layer.

Checks that a model can be sliced, sets the environment that workers inherit, and removes their shared memory. vLLM's
workers watch a pipe to the engine's process and exit once it is gone. Python's resource tracker then removes the shared
memory that it knows of. The rest is unlinked here, as soon as every rank has mapped it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from autophage.errors import UserError
from autophage.sampler.protocol import EngineSettings

SHARED_MEMORY = Path("/dev/shm")


def prepare(settings: EngineSettings) -> None:
    """Refuse a model that cannot be split over the tensor-parallel ranks. Set the environment of the workers.

    A single rank needs neither.

    Raises:
        UserError: Heads or widths do not divide, or there are fewer GPUs than ranks.
    """
    if settings.tensor_parallel == 1:
        return
    _require_even_slices(settings)
    if settings.device == "cpu":
        cores = len(os.sched_getaffinity(0))
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores // settings.tensor_parallel))
    else:
        _require_gpus(settings.tensor_parallel)
    # Ranks of one machine do not need its network.
    for name, value in (("VLLM_HOST_IP", "127.0.0.1"), ("GLOO_SOCKET_IFNAME", "lo"), ("OMP_WAIT_POLICY", "PASSIVE")):
        os.environ.setdefault(name, value)


def arguments(settings: EngineSettings) -> dict[str, Any]:
    """Return vLLM's arguments for the tensor-parallel ranks of `settings`; none for a single rank.

    By default vLLM uses Ray's executor inside a placement group.
    """
    if settings.tensor_parallel == 1:
        return {}
    return {"tensor_parallel_size": settings.tensor_parallel, "distributed_executor_backend": "mp"}


def unlink_shared_memory() -> None:
    """Unlink, in a worker, vLLM's buffers between CPU ranks. vLLM never does.

    Every rank has mapped them once the engine has started. Unlinked memory ends with its last process.
    """
    if group := os.environ.get("VLLM_DIST_IDENT"):
        for path in SHARED_MEMORY.glob(f"{Path(group).name}-*-cpushm_*"):
            path.unlink(missing_ok=True)  # every rank unlinks


def _require_even_slices(settings: EngineSettings) -> None:
    from transformers import AutoConfig

    ranks = settings.tensor_parallel
    config = AutoConfig.from_pretrained(settings.model_path, trust_remote_code=False).get_text_config()
    heads = config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    uneven = [
        f"{count} {what}"
        for what, count in (("attention heads", heads), ("inner units", getattr(config, "intermediate_size", None)))
        if count is not None and count % ranks
    ]
    # Key-value heads may be fewer than ranks. Each is then copied a whole number of times.
    if keys % ranks and ranks % keys:
        uneven.append(f"{keys} key-value heads")
    if uneven:
        fitting = [n for n in range(1, heads + 1) if not heads % n and not (keys % n and n % keys)]
        raise UserError(
            f"tensor_parallel = {ranks}: {settings.model_path!r} has {' and '.join(uneven)}, which do not split into {ranks}. "
            f"Its heads split into {', '.join(map(str, fitting))}."
        )


def _require_gpus(ranks: int) -> None:
    import torch

    if (found := torch.cuda.device_count()) < ranks:
        raise UserError(
            f"tensor_parallel = {ranks} takes {ranks} GPUs of one machine, and the sampler sees {found}. Lower it, or give the "
            "sampler more GPUs."
        )
