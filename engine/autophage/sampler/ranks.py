"""One model over several vLLM workers of one machine, each with a slice of every layer (tensor parallelism).

Owns what differs from a worker inside the engine's own process: what is refused before workers start, what they inherit,
and that nothing of them stays. vLLM's workers watch a pipe to the engine's process and leave when it is gone, however it
went; Python's resource tracker then removes the shared memory that it knows of. The rest is unlinked here, as soon as every
rank has it mapped.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from autophage.errors import UserError
from autophage.sampler.protocol import EngineSettings

SHARED_MEMORY = Path("/dev/shm")


def prepare(settings: EngineSettings) -> None:
    """Refuse what cannot be split, and set what the workers inherit from this process.

    Raises:
        UserError: heads or widths that do not divide, or fewer GPUs than ranks.
    """
    if settings.tensor_parallel == 1:
        return
    _require_even_slices(settings)
    if settings.device == "cpu":
        cores = len(os.sched_getaffinity(0))
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores // settings.tensor_parallel))
    else:
        _require_gpus(settings.tensor_parallel)
    # The ranks of one machine have no business on its network.
    for name, value in (("VLLM_HOST_IP", "127.0.0.1"), ("GLOO_SOCKET_IFNAME", "lo"), ("OMP_WAIT_POLICY", "PASSIVE")):
        os.environ.setdefault(name, value)


def arguments(settings: EngineSettings) -> dict[str, Any]:
    """vLLM's engine arguments for this many ranks. Left alone, vLLM would take Ray's executor inside a placement group."""
    if settings.tensor_parallel == 1:
        return {}
    return {"tensor_parallel_size": settings.tensor_parallel, "distributed_executor_backend": "mp"}


def unlink_shared_memory() -> None:
    """In a worker: take the names off vLLM's buffers between CPU ranks, which it never does itself.

    Every rank has mapped them by the time the engine has started; memory without a name is gone with its last process.
    """
    if group := os.environ.get("VLLM_DIST_IDENT"):
        for path in SHARED_MEMORY.glob(f"{Path(group).name}-*-cpushm_*"):
            path.unlink(missing_ok=True)  # every rank does this


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
    # Fewer key-value heads than ranks are copied, a whole number of times each.
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
