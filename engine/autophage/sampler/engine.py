"""A vLLM engine in this process: requests in, documents with the statistics of their tokens out, adapters swapped between.

Every request of a batch is submitted before the first step, in the order given, so the composition of each step, and
with it every bit of the result on a CPU, is decided by the requests alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autophage import vllm_window
from autophage.data.tokens import first_line
from autophage.errors import RunError, SwapError, UserError
from autophage.recipe.schema import SUPPORTED_RANKS
from autophage.sampler.base_weights import BaseWeights
from autophage.sampler.protocol import CANARY_TOKENS, Completion, Decoding, EngineSettings, Observe, Request, Served
from autophage.sampler.record import Record
from autophage.store.weights import Weights

EXTENSION = "autophage.sampler.worker.WorkerExtension"
PACKED = {"qkv_proj": {"q_proj", "k_proj", "v_proj"}, "gate_up_proj": {"gate_proj", "up_proj"}}
"""vLLM's fused layers and the layers of the checkpoint that they are made of."""
CPU_BLOCK = 128
"""Tokens of a KV block on a CPU; every sequence holds whole ones."""
MINIMUM_KV_BYTES = 64 << 20
OWN_LOGPROB_TOLERANCE = 1e-3
"""Nats between a recorded log-prob and vLLM's own of the same token. Both are of the same logits, so that rounding leaves
1e-5 at any element type; another row, step or distribution gives tenths to many."""
SHARED_GPU_SHARE, OWN_GPU_SHARE = 0.4, 0.88
"""Of a GPU's memory: beside a trainer, and alone. vLLM's own default of 0.92 leaves no room for the adapters' buffers."""

Progress = Callable[[int, int], None]
"""Called with (documents finished, tokens written) after each step."""


class Sampler:
    def __init__(self, settings: EngineSettings) -> None:
        vllm_window.require()
        from vllm import EngineArgs, LLMEngine

        if settings.device == "cpu":
            from autophage.sampler import cpu_lora

            cpu_lora.install()
        try:
            self._engine: Any = LLMEngine.from_engine_args(EngineArgs(**_arguments(settings)))
        except (ValueError, NotImplementedError) as error:
            raise UserError(
                f"model.path = {settings.model_path!r}: vLLM cannot serve it with a LoRA adapter ({first_line(error)})"
            ) from error
        self._bases = BaseWeights(self._engine, settings.dtype)
        self._next_id = 1
        self._next_request = 0

    def install(self, label: str, weights: Weights) -> Served:
        """Hold `weights` under a fresh id and a name that carries their digest; no adapter is ever replaced in place."""
        name = f"{label}-{weights.digest[:16]}"
        if weights.method == "full":
            return Served(name, 0, weights.digest, self._bases.hold(name, weights))
        served = Served(name, self._next_id, weights.digest)
        self._next_id += 1
        try:
            self._call("autophage_install_adapter", served.adapter_id, weights.tensors, json.dumps(weights.config))
        except Exception as error:
            raise SwapError(f"{label}: vLLM does not take the adapter ({error})") from error
        return served

    def remove(self, served: Served) -> None:
        """Let go of a model that no request uses any more."""
        if served.adapter_id:
            self._call("autophage_remove_adapter", served.adapter_id)
        elif served.base is not None:
            self._bases.let_go(served.base)

    def canary(self, served: Served, prompts: Sequence[Sequence[int]]) -> list[Completion]:
        """A sampled continuation of each prompt and its tokens' log-probs, for the trainer to compare with its own.

        Sampled, because the greedy tokens of a confident model have log-probs near 0 under any adapter.
        """
        from vllm import SamplingParams

        jobs = [
            (
                list(prompt),
                SamplingParams(max_tokens=CANARY_TOKENS, ignore_eos=True, logprobs=0, seed=index, detokenize=False),
            )
            for index, prompt in enumerate(prompts)
        ]
        answers = self._run(served, jobs, lambda *_: None, Observe.RAW)
        _agree(answers)
        return answers

    def sample(
        self,
        served: Served,
        requests: Sequence[Request],
        decoding: Decoding,
        progress: Progress,
        observe: Observe = Observe.RAW,
    ) -> list[Completion]:
        """One document per request, in order, by the adapter `served`; what is observed never changes what is sampled."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        # A greedy request draws nothing, and vLLM refuses top_k and top_p beside temperature 0.
        random = decoding.temperature > 0
        jobs = [
            (
                request.prompt_ids,
                SamplingParams(
                    max_tokens=decoding.max_tokens,
                    temperature=decoding.temperature,
                    top_p=decoding.top_p if random else 1.0,
                    top_k=decoding.top_k if random else 0,
                    seed=request.seed if random else None,
                    stop_token_ids=list(decoding.stop_ids),
                    ignore_eos=not decoding.stop_ids,
                    detokenize=False,
                    output_kind=RequestOutputKind.FINAL_ONLY,
                ),
            )
            for request in requests
        ]
        return self._run(served, jobs, progress, observe)

    def _run(
        self, served: Served, jobs: Sequence[tuple[list[int], Any]], progress: Progress, observe: Observe
    ) -> list[Completion]:
        if observe is not Observe.NOTHING:
            self._call("autophage_observe", observe is Observe.PROCESSED)
        request_ids, done = self._finish_all(served, jobs, progress)
        if observe is Observe.NOTHING:
            return done
        data = next(data for data in self._engine.collective_rpc("autophage_observed") if data is not None)
        record = Record.from_bytes(data)
        record.require_faultless()
        observed = [
            record.statistics(request_id, one.token_ids) for request_id, one in zip(request_ids, done, strict=True)
        ]
        return [
            replace(one, statistics=raw, processed=processed)
            for one, (raw, processed) in zip(done, observed, strict=True)
        ]

    def _finish_all(
        self, served: Served, jobs: Sequence[tuple[list[int], Any]], progress: Progress
    ) -> tuple[list[str], list[Completion]]:
        """Submit every job, step until all have ended; returns vLLM's internal id and the document of each, in order."""
        from vllm.lora.request import LoRARequest

        self._bases.switch(served.base)
        lora = None
        if served.adapter_id:
            if served.adapter_id not in self._call("autophage_adapters"):
                raise SwapError(f"{served.name}: is not in the sampler; a request for it would stop the engine")
            # The path is never read: the adapter is in memory. It differs per adapter, because vLLM's caches go by it.
            lora = LoRARequest(served.name, served.adapter_id, f"/memory/{served.name}")
        numbers: dict[str, int] = {}
        internal = []
        for index, (prompt, params) in enumerate(jobs):
            request_id = str(self._next_request)
            self._next_request += 1
            numbers[request_id] = index
            prompted = {"prompt_token_ids": prompt}
            internal.append(self._engine.add_request(request_id, prompted, params, lora_request=lora))
        done: dict[int, Completion] = {}
        tokens = 0
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                if output.finished:
                    completion = _completion(output.outputs[0])
                    done[numbers[output.request_id]] = completion
                    tokens += len(completion.token_ids)
                    progress(len(done), tokens)
        if len(done) != len(jobs):
            raise RunError(f"vLLM returned {len(done)} of {len(jobs)} documents")
        return internal, [done[index] for index in range(len(jobs))]

    def _call(self, method: str, *args: Any) -> Any:
        """Run a method of the worker extension in every worker; they all give the same answer."""
        return self._engine.collective_rpc(method, args=args)[0]


def _agree(answers: Sequence[Completion]) -> None:
    """Hold the recorded log-probs to those that vLLM reports for the same tokens.

    Raises:
        RunError: they differ: what is recorded is not of the token, row or distribution that it is taken for.
    """
    for answer in answers:
        if answer.statistics is None or answer.logprobs is None:
            raise RunError("a canary came back without its log-probs")
        worst = float(np.abs(answer.statistics.logprob - np.array(answer.logprobs)).max())
        if not worst <= OWN_LOGPROB_TOLERANCE:
            raise RunError(
                f"recorded log-probs differ from vLLM's own by {worst:.3g} nats (at most {OWN_LOGPROB_TOLERANCE:g}): the "
                "statistics of sampled tokens cannot be trusted with this vLLM. Nothing was committed."
            )


def _completion(output: Any) -> Completion:
    token_ids = list(output.token_ids)
    logprobs = None
    if output.logprobs is not None:
        logprobs = [step[token].logprob for step, token in zip(output.logprobs, token_ids, strict=True)]
    return Completion(token_ids, str(output.finish_reason), logprobs)


def _arguments(settings: EngineSettings) -> dict[str, Any]:
    """vLLM's engine arguments. On a CPU: eager, no prefix cache and no chunked prefill (seeded requests break under it)."""
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
    }
    if settings.rank:
        arguments |= {
            "enable_lora": True,
            "max_loras": min(settings.adapters, 4),
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
            "kv_cache_memory_bytes": min(wanted, limit),
        }
    else:
        share = SHARED_GPU_SHARE if settings.shares_device else OWN_GPU_SHARE
        if settings.dtype == "float32" and settings.rank:
            raise UserError(
                'model.dtype = "float32": vLLM serves adapters in 16 bits on a GPU. Use "auto" or "bfloat16".'
            )
        if (settings.memory or share) > 1:
            raise UserError(f"sample.memory = {settings.memory:g}: on a GPU it is a share of the device, at most 1.")
        arguments["gpu_memory_utilization"] = settings.memory or share
    return arguments
