"""The engine of every scenario: `Sampler` with a GPU's arguments, over the V2 runner on a CPU."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autophage.errors import AutophageError
from autophage.sampler import engine as engine_module
from autophage.sampler import hooks
from autophage.sampler.arguments import engine_arguments
from autophage.sampler.engine import Sampler
from autophage.sampler.protocol import Completion, Decoding, EngineSettings, Job, Request, Served
from autophage.store.weights import Weights

from . import shims
from .reference import LONGEST, TARGETS, VOCABULARY, Reference

TOLERANCE = 1e-4
"""Largest difference from the float32 reference. Rounding leaves 1e-5; another row, token or adapter differs by tenths."""
BASE = Served("base", 0, "")
SETTINGS = EngineSettings(
    model_path="",
    seed=1,
    rank=8,
    target_modules=TARGETS,
    longest=LONGEST,
    concurrency=16,
    mixed=3,
    adapters=6,
    dtype="bfloat16",
    device="cuda",
    memory=None,
    kv_bytes_per_token=2 * 2 * 32 * 4,
    shares_device=True,
)
NOT_ON_CPUS = ("gpu_memory_utilization", "enable_sleep_mode")
"""Arguments that a CPU's worker refuses."""


class Rig:
    """An engine with its reference, the events that happened in it, and the faults that a scenario finds."""

    def __init__(self, folder: Path, settings: EngineSettings = SETTINGS, **arguments: Any) -> None:
        shims.after_imports()
        self.reference = Reference(folder)
        self.happened: Counter[str] = Counter()
        self.faults: list[str] = []
        self.facts: dict[str, Any] = {}
        settings = dataclasses.replace(settings, model_path=str(folder))
        on_cpu = {
            **{key: value for key, value in engine_arguments(settings).items() if key not in NOT_ON_CPUS},
            # The interpreter multiplies the bits of bfloat16 as integers.
            "dtype": "float32",
            "enforce_eager": True,
            "kv_cache_memory_bytes": 16 << 20,
            "block_size": 32,
            "async_scheduling": True,
            **arguments,
        }
        vars(engine_module)["engine_arguments"] = lambda _: on_cpu
        self._count_events()
        self.sampler = Sampler(dataclasses.replace(settings, dtype="float32"))
        self.engine: Any = self.sampler._engine
        self.core: Any = self.engine.engine_core.engine_core
        self.runner: Any = self.core.model_executor.driver_worker.worker.model_runner
        self._require_v2()

    def _require_v2(self) -> None:
        import vllm
        from vllm.v1.worker.gpu.model_runner import GPUModelRunner

        config = self.core.vllm_config
        self.facts |= {
            "vllm": vllm.__version__,
            "v2": isinstance(self.runner, GPUModelRunner) and bool(config.use_v2_model_runner),
            "async": bool(config.scheduler_config.async_scheduling) and self.core.batch_queue_size > 1,
            "chunked prefill": bool(config.scheduler_config.enable_chunked_prefill),
            "prefix caching": bool(config.cache_config.enable_prefix_caching),
        }

    def _count_events(self) -> None:
        from vllm.v1.core.kv_cache_manager import KVCacheManager
        from vllm.v1.core.sched.scheduler import Scheduler

        preempt, computed, v2_rows = Scheduler._preempt_request, KVCacheManager.get_computed_blocks, hooks.v2_rows

        def counted_preempt(*arguments: Any, **named: Any) -> Any:
            self.happened["preemptions"] += 1
            return preempt(*arguments, **named)

        def counted_blocks(*arguments: Any, **named: Any) -> Any:
            found = computed(*arguments, **named)
            self.happened["tokens from the prefix cache"] += int(found[1])
            return found

        def counted_rows(*arguments: Any, **named: Any) -> Any:
            found = v2_rows(*arguments, **named)
            self.happened["rows"] += int(found.valid.sum())
            self.happened["rows of unread prompts"] += int((~found.valid).sum())
            return found

        vars(hooks)["v2_rows"] = counted_rows
        # They count, and go on as before.
        Scheduler._preempt_request = counted_preempt  # type: ignore[method-assign]
        KVCacheManager.get_computed_blocks = counted_blocks  # type: ignore[method-assign]

    def result(self) -> dict[str, Any]:
        return {"faults": self.faults, "happened": dict(self.happened), **self.facts}

    def require(self, holds: bool, fault: str) -> None:
        """Add a fault unless `holds`."""
        if not holds:
            self.faults.append(fault)

    def agree(
        self, what: str, weights: Weights | None, requests: Sequence[Request], found: Sequence[Completion]
    ) -> None:
        """Require the statistics of a float32 forward pass of each document alone."""
        worst = self.reference.differences(weights, requests, found)
        largest = self.facts.setdefault("worst", {})
        for name, difference in worst.items():
            largest[name] = max(largest.get(name, 0.0), difference)
        self.require(all(value <= TOLERANCE for value in worst.values()), f"{what} differs from torch: {worst}")

    def refused(self, what: str, kind: type[AutophageError], words: str, call: Callable[[], Any]) -> None:
        """Require a call to raise `kind` with `words` in its message."""
        try:
            call()
        except kind as error:
            self.require(words in str(error), f"{what}: the message does not say {words!r}: {error}")
        else:
            self.faults.append(f"{what} was not refused")

    def write(
        self, served: Served, requests: Sequence[Request], decoding: Decoding, *, observe: bool = True
    ) -> list[Completion]:
        """Return the documents of one model."""
        [found] = self.sampler.sample([Job(served, requests, decoding)], nobody, observe=observe)
        return found

    def adapters(self) -> list[int]:
        """Return the ids of the registered adapters."""
        found: list[int] = self.engine.collective_rpc("autophage_adapters")[0]
        return found

    def used_blocks(self) -> int:
        """Return the number of blocks of the KV cache that requests hold. One block is vLLM's own."""
        pool = self.core.scheduler.kv_cache_manager.block_pool
        return int(pool.num_gpu_blocks - pool.get_num_free_blocks() - 1)


def nobody(*_: Any) -> None:
    """Take no notice of documents that end."""


def prompts(count: int, *, seed: int = 3, longest: int = 40) -> list[list[int]]:
    """Return random prompts of random lengths."""
    random = np.random.default_rng(seed)
    return [random.integers(8, VOCABULARY, int(random.integers(1, longest + 1))).tolist() for _ in range(count)]


def tokens(found: Sequence[Completion]) -> list[list[int]]:
    return [one.token_ids for one in found]


def bits(found: Sequence[Completion]) -> list[Any]:
    """Return tokens and the bytes of their statistics."""
    return [(one.token_ids, [column.tobytes() for column in vars(one.statistics).values()]) for one in found]
