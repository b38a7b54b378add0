"""vLLM's engine arguments for the settings of a sampler."""

from __future__ import annotations

from typing import Any

from autophage.errors import UserError
from autophage.recipe.tables.model import SUPPORTED_RANKS
from autophage.sampler import ranks
from autophage.sampler.protocol import EngineSettings

EXTENSION = "autophage.sampler.worker.WorkerExtension"
PACKED = {"qkv_proj": {"q_proj", "k_proj", "v_proj"}, "gate_up_proj": {"gate_proj", "up_proj"}}
"""The layers of a checkpoint that vLLM fuses, by the fused layer."""
CPU_BLOCK = 128
"""Tokens of a block of the KV cache on a CPU. Every sequence holds whole blocks."""
MINIMUM_KV_BYTES = 64 << 20
SHARED_GPU_SHARE, OWN_GPU_SHARE = 0.4, 0.88
"""Shares of a GPU's memory, beside a trainer and alone. vLLM's default of 0.92 leaves no room for the adapters' buffers."""


def engine_arguments(settings: EngineSettings) -> dict[str, Any]:
    """Return vLLM's engine arguments by name for a sampler of these settings.

    A CPU runs eagerly, without prefix cache and without chunked prefill, under which seeded requests break.

    Raises:
        UserError: vLLM cannot serve this type on this device, or `sample.memory` is no share of a GPU.
    """
    # PEFT may name every layer in full; vLLM goes by the last part.
    targets = {name.rsplit(".", 1)[-1] for name in settings.target_modules}
    targets |= {packed for packed, parts in PACKED.items() if parts & targets}
    arguments: dict[str, Any] = {
        "model": settings.model_path,
        "dtype": settings.dtype,
        "seed": settings.seed % 2**31,
        "max_model_len": settings.longest,
        "max_num_seqs": settings.concurrency,
        "max_num_batched_tokens": max(8192, settings.longest),
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "worker_extension_cls": EXTENSION,
        "trust_remote_code": False,
        "load_format": "safetensors",
        **ranks.arguments(settings),
    }
    if settings.rank:
        arguments |= {
            "enable_lora": True,
            "max_loras": settings.mixed,
            "max_cpu_loras": settings.adapters,
            "max_lora_rank": next(rank for rank in SUPPORTED_RANKS if rank >= settings.rank),
            "lora_target_modules": sorted(targets),
        }
    if settings.device == "cpu":
        blocks = -(-settings.longest // CPU_BLOCK) + 1
        wanted = max(MINIMUM_KV_BYTES, settings.concurrency * blocks * CPU_BLOCK * settings.kv_bytes_per_token)
        limit = int((settings.memory or 4.0) * 2**30)
        arguments |= {
            "enforce_eager": True,
            "enable_prefix_caching": False,
            "enable_chunked_prefill": False,
            "kv_cache_memory_bytes": min(wanted, limit) // settings.tensor_parallel,
        }
    else:
        share = SHARED_GPU_SHARE if settings.shares_device else OWN_GPU_SHARE
        if settings.dtype == "float32" and settings.rank:
            raise UserError(
                'model.dtype = "float32": vLLM serves adapters in 16 bits on a GPU. Use "auto" or "bfloat16".'
            )
        if (settings.memory or share) > 1:
            raise UserError(f"sample.memory = {settings.memory:g}: on a GPU it is a share of the device, at most 1.")
        arguments |= {"gpu_memory_utilization": settings.memory or share, "enable_sleep_mode": settings.sleeps}
    return arguments
