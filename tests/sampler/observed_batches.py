"""Real vLLM batches with and without the observer, compared with a float32 forward pass. Run by test_observer.py.

It is a process of its own, because vLLM changes global state. The argument names the batch.

    preempted   a cache that is too small, mixed adapters, early stops, requests of one token, seeds of their own
    chunked     long prompts read in pieces and shared prefixes from the cache
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autophage.host import environment

environment.apply()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict  # noqa: E402
from safetensors.torch import load, save  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402
from vllm import EngineArgs, LLMEngine, SamplingParams  # noqa: E402
from vllm.lora.request import LoRARequest  # noqa: E402
from vllm.sampling_params import RequestOutputKind  # noqa: E402
from vllm.v1.core.sched.scheduler import Scheduler  # noqa: E402

from autophage.metrics.scored import Statistics  # noqa: E402
from autophage.sampler import cpu_lora, hooks  # noqa: E402
from autophage.sampler.arguments import EXTENSION  # noqa: E402
from autophage.sampler.record import NAMES, Record  # noqa: E402

VOCABULARY, STOP = 512, 7
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA = LoraConfig(r=8, lora_alpha=8, target_modules=TARGETS, task_type="CAUSAL_LM")
ADAPTERS = (0, 1, 2)
"""Number 0 is the base model, without an adapter."""
TOLERANCE = 1e-4

happened: Counter[str] = Counter()
_preempt, _rows = Scheduler._preempt_request, hooks.v1_rows


def _counted_preempt(self: Any, *args: Any, **kwargs: Any) -> Any:
    happened["preemptions"] += 1
    return _preempt(self, *args, **kwargs)


def _counted_rows(*args: Any, **kwargs: Any) -> Any:
    rows = _rows(*args, **kwargs)
    happened["rows of unread prompts"] += int((~rows.valid).sum())
    return rows


Scheduler._preempt_request = _counted_preempt  # type: ignore[method-assign]  # it counts, and goes on as before
hooks.v1_rows = _counted_rows


class Job(NamedTuple):
    prompt: list[int]
    adapter: int
    tokens: int
    seed: int | None


class Answer(NamedTuple):
    token_ids: list[int]
    reason: str


class Subject:
    """A small model with sharp distributions, its adapters, and the engine that serves them."""

    def __init__(self, folder: Path, **arguments: Any) -> None:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
        )
        model = LlamaForCausalLM(config)
        model.lm_head.weight.data *= 15
        model.save_pretrained(folder)
        self.reference: Any = get_peft_model(model.eval(), LORA)
        self.tensors = {adapter: self._weights(adapter) for adapter in ADAPTERS}
        cpu_lora.install()
        self.engine: Any = LLMEngine.from_engine_args(
            EngineArgs(
                model=str(folder),
                dtype="float32",
                skip_tokenizer_init=True,
                max_model_len=256,
                enforce_eager=True,
                enable_lora=True,
                max_loras=2,
                max_cpu_loras=4,
                max_lora_rank=8,
                worker_extension_cls=EXTENSION,
                disable_log_stats=True,
                block_size=32,
                kv_cache_memory_bytes=64 << 20,
                **arguments,
            )
        )
        description = json.dumps({**LORA.to_dict(), "target_modules": TARGETS}, default=str)
        for adapter in ADAPTERS[1:]:
            arguments_ = (adapter, self.tensors[adapter], description)
            self.engine.collective_rpc("autophage_install_adapter", args=arguments_)

    def _weights(self, adapter: int) -> bytes:
        torch.manual_seed(adapter)
        tensors = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(self.reference).items()}
        for name in sorted(tensors):
            if "lora_B" in name:
                tensors[name] = torch.randn_like(tensors[name]) * 0.05 * adapter
        return save(tensors)

    def run(self, jobs: Sequence[Job], *, observe: bool = False) -> tuple[list[Answer], Record | None, list[str]]:
        torch.manual_seed(1)  # for requests without a seed
        self.engine.reset_prefix_cache()
        if observe:
            self.engine.collective_rpc("autophage_observe")
        ids = []
        for number, job in enumerate(jobs):
            params = SamplingParams(
                max_tokens=job.tokens,
                seed=job.seed,
                stop_token_ids=[STOP],
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            lora = LoRARequest(f"a{job.adapter}", job.adapter, f"/memory/{job.adapter}") if job.adapter else None
            prompt = {"prompt_token_ids": job.prompt}
            ids.append(self.engine.add_request(str(number), prompt, params, lora_request=lora))
        done: dict[int, Answer] = {}
        while self.engine.has_unfinished_requests():
            for output in self.engine.step():
                one = output.outputs[0]
                happened["tokens from the prefix cache"] += output.num_cached_tokens or 0
                done[int(output.request_id)] = Answer(list(one.token_ids), str(one.finish_reason))
        record = Record.from_bytes(self.engine.collective_rpc("autophage_observed")[0]) if observe else None
        return [done[number] for number in range(len(jobs))], record, ids

    def differences(
        self, jobs: Sequence[Job], answers: Sequence[Answer], found: Sequence[Statistics]
    ) -> dict[str, float]:
        """Return the largest difference of each statistic from a float32 forward pass of each document alone."""
        worst = dict.fromkeys(NAMES, 0.0)
        order = sorted(range(len(jobs)), key=lambda index: jobs[index].adapter)
        loaded = None
        for index in order:
            job, answer = jobs[index], answers[index]
            if job.adapter != loaded:
                loaded = job.adapter
                set_peft_model_state_dict(self.reference, load(self.tensors[loaded]))
            with torch.inference_mode():
                logits = self.reference(torch.tensor([[*job.prompt, *answer.token_ids]])).logits[0]
            assert logits.dtype == torch.float32
            for name, difference in _differences(logits[len(job.prompt) - 1 : -1], answer.token_ids, found[index]):
                worst[name] = max(worst[name], difference)
        return worst


def _differences(logits: torch.Tensor, token_ids: list[int], found: Statistics) -> list[tuple[str, float]]:
    """Compute statistics in float64 from float32 logits. A rank may fall anywhere among tokens within 1e-5."""
    log_p = logits.double().log_softmax(-1)
    token = torch.tensor(token_ids)[:, None]
    p, chosen = log_p.exp(), log_p.gather(1, token)
    entropy = -(p * log_p).sum(-1)
    expected = {
        "logprob": chosen[:, 0],
        "entropy": entropy,
        "varentropy": (p * log_p.square()).sum(-1) - entropy.square(),
        "max_prob": p.max(-1).values,
    }
    differences = [
        (name, float(np.abs(getattr(found, name) - values.numpy()).max())) for name, values in expected.items()
    ]
    low, high = ((1 + (log_p > chosen + slack).sum(-1)).numpy() for slack in (1e-5, -1e-5))
    outside = np.maximum(low - found.rank, found.rank - high).max()
    return [*differences, ("rank", max(0.0, float(outside)))]


def check(subject: Subject, jobs: list[Job]) -> dict[str, Any]:
    """Require the same tokens with and without the observer, and the statistics of a separate pass."""
    plain, _, _ = subject.run(jobs)
    answers, record, ids = subject.run(jobs, observe=True)
    again, second, ids_again = subject.run(jobs, observe=True)
    assert [one.token_ids for one in answers] == [one.token_ids for one in plain], "the observer changed a token"
    assert again == answers
    assert record is not None
    assert second is not None
    record.require_faultless()
    found = [record.statistics(name, answer.token_ids) for name, answer in zip(ids, answers, strict=True)]
    repeat = [second.statistics(name, answer.token_ids) for name, answer in zip(ids_again, again, strict=True)]
    for one, other in zip(found, repeat, strict=True):
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in NAMES), "bits differ on repeat"
    worst = subject.differences(jobs, answers, found)
    assert all(value <= TOLERANCE for value in worst.values()), worst
    lengths = [len(answer.token_ids) for answer in answers]
    return {
        "tokens": sum(lengths),
        "worst": worst,
        "of_one_token": lengths.count(1),
        "stopped": sum(answer.reason == "stop" for answer in answers),
        "cut": sum(answer.reason == "length" for answer in answers),
        "happened": happened,
    }


def preempted(folder: Path) -> dict[str, Any]:
    subject = Subject(
        folder,
        max_num_seqs=24,
        max_num_batched_tokens=8192,
        enable_prefix_caching=False,
        enable_chunked_prefill=False,
        num_gpu_blocks_override=72,
    )
    rng = np.random.default_rng(3)
    jobs = [
        Job(
            rng.integers(8, VOCABULARY, 1 + index % 60).tolist(), index % 3, 1 if index % 29 == 0 else 150, 1000 + index
        )
        for index in range(150)
    ]
    return check(subject, jobs)


def chunked(folder: Path) -> dict[str, Any]:
    subject = Subject(
        folder,
        max_num_seqs=16,
        max_num_batched_tokens=48,
        enable_prefix_caching=True,
        enable_chunked_prefill=True,
    )
    rng = np.random.default_rng(4)
    shared = rng.integers(8, VOCABULARY, 96).tolist()
    jobs = [
        Job(
            [*shared[: 96 * (index % 2)], *rng.integers(8, VOCABULARY, 1 + 7 * (index % 9)).tolist()],
            index % 3,
            40,
            None,
        )
        for index in range(48)
    ]
    return check(subject, jobs)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print("RESULT", json.dumps({"preempted": preempted, "chunked": chunked}[sys.argv[1]](Path(place))))
