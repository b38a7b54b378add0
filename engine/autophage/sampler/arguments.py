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
MOST_BATCHED_TOKENS = 8192
"""Most tokens of a step, unless a prompt has more. A larger step reads prompts no faster, and its activations take memory."""
GRAPHS_BY_DEFAULT, MOST_IN_A_GRAPH = 512, 2048
"""Sequences of the largest step that vLLM captures as a CUDA graph by default, and that is captured here at most.

A larger step runs its kernels one by one. Each 16 further sequences take a graph more: its capture and its memory.
"""
GRAPH_STRIDE = 16
"""Distance of the sizes that vLLM captures above 256."""


def engine_arguments(settings: EngineSettings) -> dict[str, Any]:
    """Return vLLM's engine arguments by name for a sampler of these settings.

    A CPU runs eagerly, without prefix cache and without chunked prefill, under which seeded requests break.

    Raises:
        UserError: vLLM cannot serve this type on this device, or `sample.memory` is no share of a GPU.
    """
    require_served(settings.dtype, settings.device)
    # PEFT may name every layer in full; vLLM goes by the last part.
    targets = {name.rsplit(".", 1)[-1] for name in settings.target_modules}
    targets |= {packed for packed, parts in PACKED.items() if parts & targets}
    arguments: dict[str, Any] = {
        "model": settings.model_path,
        "dtype": settings.dtype,
        "seed": settings.seed % 2**31,
        "max_model_len": settings.longest,
        "max_num_seqs": settings.concurrency,
        "max_num_batched_tokens": _batched_tokens(settings),
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "worker_extension_cls": EXTENSION,
        "trust_remote_code": False,
        "load_format": "safetensors",
        **ranks.arguments(settings),
    }
    if settings.dtype != "float32" and not settings.quantized:
        # Logits of 16 bits lie 0.125 apart at 16, which hides a stale adapter. On a GPU the product is summed in float32
        # either way, so that only the output grows.
        arguments["hf_overrides"] = {"head_dtype": "float32"}
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
        if (settings.memory or share) > 1:
            raise UserError(f"sample.memory = {settings.memory:g}: on a GPU it is a share of the device, at most 1.")
        arguments |= {"gpu_memory_utilization": settings.memory or share, "enable_sleep_mode": settings.sleeps}
        if settings.concurrency > GRAPHS_BY_DEFAULT:
            largest = min(MOST_IN_A_GRAPH, -(-settings.concurrency // GRAPH_STRIDE) * GRAPH_STRIDE)
            arguments["compilation_config"] = {"max_cudagraph_capture_size": largest}
    return arguments


def require_served(dtype: str, device: str) -> None:
    """Refuse an element type in which vLLM cannot serve a model on this kind of device: cpu or cuda.

    Raises:
        UserError: The type is float32 and the device a GPU.
    """
    if dtype == "float32" and device != "cpu":
        raise UserError(
            'model.dtype = "float32": on a GPU vLLM serves adapters in 16 bits, and its attention rounds float32 to TF32, so '
            'that no swap could be verified. Use "auto" or "bfloat16".'
        )


def _batched_tokens(settings: EngineSettings) -> int:
    """Return the largest number of tokens of a step. vLLM warns of more than all sequences have, and wants one per sequence."""
    whole = settings.concurrency * settings.longest
    return max(min(MOST_BATCHED_TOKENS, whole), settings.longest, settings.concurrency)
