"""The engine as the benchmarks call it.

`Live` holds a workbench (the trainer's side) and a sampler on one model. It runs one generation of the loop as
`autophage.loop` does, without measurements of models and corpora.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.host import environment
from autophage.progress import Meter
from harness.subject import Loop, write_recipe

if TYPE_CHECKING:
    from autophage.recipe.arms import Arm
    from autophage.sampler.engine import Sampler
    from autophage.sampler.protocol import Completion, Decoding, Job, Request, Served
    from autophage.stages.workbench import Workbench
    from autophage.store.corpus import Sample
    from autophage.store.messages import Trained
    from autophage.store.weights import Weights


def job(served: Served, requests: Sequence[Request], decoding: Decoding) -> Job:
    """Requests to one model, as a job of the sampler."""
    from autophage.sampler.protocol import Job

    return Job(served, requests, decoding)


def sample_together(sampler: Sampler, jobs: Sequence[Job], *, observe: bool = True) -> list[list[Completion]]:
    """Documents of each job, with the statistics of their tokens if they are observed. All jobs are one batch."""
    return sampler.sample(jobs, _ignore, observe=observe)


def _ignore(*_: object) -> None:
    """Ignore a finished document."""


class Live:
    """A workbench and, on request, a sampler. Both stay until the process ends."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        environment.apply()
        from autophage.data.build import read_source
        from autophage.recipe import load_recipe
        from autophage.stages.facts import model_path
        from autophage.stages.workbench import Workbench

        loaded = load_recipe(str(write_recipe(loop, folder)))
        source = read_source(loaded.recipe)
        self.loop = loop
        self.folder = folder
        self.arms: list[Arm] = list(loaded.arms)
        self.model_path = model_path(loaded.recipe, source, Meter())
        self.bench: Workbench = Workbench(loaded.recipe, source, self.model_path)

    def sampler(self, **changes: Any) -> Sampler:
        """A sampler as a run has it, but for `changes` of its settings."""
        from autophage.sampler.engine import Sampler

        settings = self.bench.engine_settings(self.arms)
        known = {name: value for name, value in changes.items() if hasattr(settings, name)}
        return Sampler(replace(settings, **known))

    def swap(self, sampler: Sampler, label: str, weights: Weights) -> Served:
        """Install, and check that the sampler serves what was trained."""
        served = sampler.install(label, weights)
        self.bench.check_canary(weights, sampler.canary(served, self.bench.canary_prompts))
        return served

    def train(self, arm: Arm, generation: int, start: Weights, corpus: list[Sample]) -> Trained:
        return self.bench.fit(arm, generation, start, {generation - 1: corpus}, Meter())

    def write(self, sampler: Sampler, arm: Arm, generation: int, served: Served) -> list[Sample]:
        """Sample corpus `generation`."""
        requests = self.bench.requests(arm, generation)
        [answers] = sample_together(sampler, [job(served, requests, self.bench.decoding(arm))])
        sampler.remove(served)
        return _samples(requests, answers)

    def generation(
        self, sampler: Sampler, arm: Arm, number: int, start: Weights, corpus: list[Sample]
    ) -> tuple[Trained, list[Sample], dict[str, float]]:
        """Train model `number` on the previous corpus, swap it in, sample its corpus and save both.

        Returns:
            The trained model, its corpus, and the seconds of each stage.
        """
        from autophage.store.corpus import write_corpus

        begun = time.perf_counter()
        made = self.train(arm, number, start, corpus)
        weights, trained = made.weights, time.perf_counter()
        served = self.swap(sampler, f"{arm.name}@{number}", weights)
        swapped = time.perf_counter()
        written = self.write(sampler, arm, number, served)
        sampled = time.perf_counter()
        kept = self.folder / arm.name / f"gen-{number:03d}"
        kept.mkdir(parents=True)
        weights.save(kept)
        write_corpus(kept, written)
        ended = time.perf_counter()
        seconds = {
            "train": trained - begun,
            "swap": swapped - trained,
            "sample": sampled - swapped,
            "save": ended - sampled,
            "generation": ended - begun,
        }
        return made, written, seconds


def prepare(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Worker: make the model if it is missing. Return the facts that others need to repeat the experiment by hand."""
    live = Live(Loop.of(spec), folder)
    [arm, *_] = live.arms
    return {
        "model": live.model_path,
        "prompts": [request.prompt_ids for request in live.bench.requests(arm, 0)],
        "start": live.bench.source.start_ids,
        "parameters": live.bench.resident.parameters,
        "dtype": live.bench.engine_settings(live.arms).dtype,
        "decoding": vars(live.bench.decoding(arm)),
    }


def write_prompts(prepared: Mapping[str, Any], path: Path) -> Path:
    """Write prompts and the start of a training document as token ids, for the scripts of peers."""
    path.write_text(json.dumps({"prompts": prepared["prompts"], "start": prepared["start"]}), "utf-8")
    return path


def canary_differences(
    live: Live, weights: Weights, prompts: Sequence[Sequence[int]], completions: Sequence[Completion]
) -> list[float]:
    """Distances (nats) of each token's log-prob between the sampler that wrote it and the trainer under `weights`."""
    live.bench.resident.load(weights)
    pairs = list(zip(prompts, completions, strict=True))
    sequences = [[*prompt, *completion.token_ids] for prompt, completion in pairs]
    scored = live.bench.resident.score(sequences, [len(prompt) for prompt in prompts])
    return [
        abs(float(own) - served)
        for one, (_, completion) in zip(scored, pairs, strict=True)
        for own, served in zip(one.logprob, completion.logprobs or [], strict=True)
    ]


def variants(live: Live, count: int) -> list[Weights]:
    """Distinct adapters with the shapes and sizes of trained ones. B is random, with one seed each."""
    import safetensors.torch
    import torch

    from autophage.store.weights import Weights

    base = live.bench.base_weights(live.arms[0])
    made = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        tensors = safetensors.torch.load(base.tensors)
        for name, tensor in tensors.items():
            if "lora_B" in name:
                tensors[name] = 0.02 * torch.randn(tensor.shape, generator=generator)
        made.append(Weights(safetensors.torch.save(tensors), base.config))
    return made


def _samples(requests: Sequence[Request], answers: Sequence[Completion]) -> list[Sample]:
    """Samples with the fields that a trainer needs. Text and ids are left out, as peers do not pay for them."""
    from autophage.store.corpus import Sample

    return [
        Sample(
            sample_id=str(index),
            prompt="",
            text="",
            prompt_ids=request.prompt_ids,
            token_ids=answer.token_ids,
            finish_reason=answer.finish_reason,
            seed=request.seed,
            **vars(answer.statistics),
        )
        for index, (request, answer) in enumerate(zip(requests, answers, strict=True))
    ]


def first_token(sampler: Sampler, name: str, adapter_id: int, path: str) -> None:
    """One greedy token under an adapter that vLLM holds, by vLLM's own call."""
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    def write(vllm: Any) -> None:
        params = SamplingParams(temperature=0.0, max_tokens=1, detokenize=False)
        prompt = {"prompt_token_ids": [1]}
        vllm.add_request(f"bench-{adapter_id}", prompt, params, lora_request=LoRARequest(name, adapter_id, path))
        while vllm.has_unfinished_requests():
            vllm.step()

    sampler.on_engine(write)


def add_from_file(sampler: Sampler, name: str, adapter_id: int, folder: Path) -> None:
    from vllm.lora.request import LoRARequest

    sampler.on_engine(lambda vllm: vllm.add_lora(LoRARequest(name, adapter_id, str(folder))))


def remove_from_file(sampler: Sampler, adapter_id: int) -> None:
    sampler.on_engine(lambda vllm: vllm.remove_lora(adapter_id))


class Preemptions:
    """Counts preemptions by the engine's scheduler from its creation on."""

    def __init__(self, sampler: Sampler) -> None:
        vllm: Any = sampler._engine
        scheduler = vllm.engine_core.engine_core.scheduler
        preempt = scheduler._preempt_request
        self.count = 0

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return preempt(*args, **kwargs)

        scheduler._preempt_request = counted


def greedy(live: Live, tokens: int) -> Decoding:
    """The likeliest token each time, to the full length."""
    return replace(live.bench.decoding(live.arms[0]), temperature=0.0, max_tokens=tokens, stop_ids=())


def load_weights(folder: Path) -> Weights:
    from autophage.store.weights import load_weights as load

    return load(folder)
