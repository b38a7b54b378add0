"""The worker: sampler and trainer on one model, and the matrix products alone, in one process.

A question names a method and its arguments. Times are pairs: seconds on the clock, and seconds of processor time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import engine
from light_bench.asked import PARTS, Asked
from light_bench.parts import by_kind

Time = tuple[float, float]
"""Seconds on the clock, and seconds of processor time over all threads."""
WARM_ROWS, WARM_TOKENS = 2, 3


class Subject:
    """What is measured: one model in the engine's trainer and, on request, in its sampler."""

    def __init__(self, spec: Mapping[str, Any], folder: Path) -> None:
        self.asked = Asked(**spec["asked"])
        self.live = engine.Live(self.asked.loop(spec["method"]), folder)
        import torch

        from autophage.host.devices import device, element_type
        from autophage.trainer.bare_products import BareProducts
        from autophage.trainer.products import products_at

        self.torch, self.device = torch, device()
        self.dtype = element_type(self.live.arms[0].recipe.model.dtype)
        self.products = products_at(self.live.model_path)
        self._bare = BareProducts(self.products, self.dtype, self.device, most_flops=self.asked.bare_flops)
        self._sampling = SampledBatches(self) if spec.get("sampler") else None
        from light_bench.steps import Steps

        self.steps = Steps(self)

    def answer(self, question: Mapping[str, Any]) -> Any:
        name, arguments = question["do"], {key: value for key, value in question.items() if key != "do"}
        owner = next(one for one in (self, self._sampling, self.steps) if hasattr(one, name))
        return getattr(owner, name)(**arguments)

    def facts(self) -> dict[str, Any]:
        return {
            "work": {part: self.asked.work(part, self.products, self.dtype.itemsize) for part in PARTS},
            "libraries": self._bare.names,
            "model": self.live.model_path,
            "parameters": self.live.bench.resident.parameters,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "threads": self.torch.get_num_threads(),
            "prompts": self.prompts(),
            "products": [vars(one) for one in self.products],
        }

    def bare(self, part: str, library: str) -> dict[str, Time]:
        """Time the products of each figure of a part."""
        return {
            figure: tuple(sum((self._bare.time(way, rows, head, library) for way in ways), start=_nothing()))  # type: ignore[arg-type, misc]
            for figure, (rows, head, ways) in self.asked.passes(part).items()
        }

    def work_of_a_run(self, tokens: int, warm: bool = False) -> dict[str, Time]:
        """Time a batch and a training step as a run has them, in this one process."""
        assert self._sampling is not None
        batch = self._sampling.sample("adapter", True, tokens, warm)
        return {"whole": batch["whole"], **self.steps.fit(warm)}

    def prompts(self) -> list[list[int]]:
        return self.documents(self.asked.rows, self.asked.prompt)

    def documents(self, count: int, length: int) -> list[list[int]]:
        """Random token ids. Only their number matters to the time."""
        import random

        vocabulary = len(self.live.bench.tokenizer)
        draw = random.Random(0)
        return [[draw.randrange(3, vocabulary) for _ in range(length)] for _ in range(count)]

    @contextmanager
    def timed(self, found: list[Time]) -> Iterator[None]:
        """Append the time of the context to `found`. A GPU has then done its work."""
        self._wait()
        began, used = time.perf_counter(), time.process_time()
        yield
        self._wait()
        found.append((time.perf_counter() - began, time.process_time() - used))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def profiled(self, work: Callable[[], object]) -> dict[str, float]:
        """Seconds of each kind of operation while `work` runs in this thread."""
        from torch.profiler import ProfilerActivity, profile

        gpu = self.device.type == "cuda"
        found: list[Time] = []
        with (
            profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as profiler,
            self.timed(found),
        ):
            work()
        name = "self_device_time_total" if gpu else "self_cpu_time_total"
        operations: dict[str, float] = {}
        for event in profiler.key_averages():
            if not gpu or str(event.device_type).endswith("CUDA"):
                operations[event.key] = operations.get(event.key, 0.0) + getattr(event, name) / 1e6
        return by_kind(operations, found[0][0])


class SampledBatches:
    """Batches of the engine's sampler, step by step: prompts first, then one token of each document a step."""

    def __init__(self, subject: Subject) -> None:
        from autophage.sampler.protocol import Request, Served

        self._subject = subject
        live = subject.live
        self._sampler = live.sampler()
        adapter = self._sampler.install("light@0", engine.variants(live, 1)[0])
        self._models = {"adapter": adapter, "base": Served("base", 0, "")}
        self._requests = [Request(prompt, seed) for seed, prompt in enumerate(subject.prompts())]
        self._decoding = replace(live.bench.decoding(live.arms[0]), stop_ids=(), temperature=1.0)
        self._steps: list[Time] = []
        self._profiles: list[dict[str, float]] | None = None
        self._sampler.on_engine(self._watch)

    def _watch(self, vllm: Any) -> None:
        """Time each step of the engine, in the thread that takes it."""
        own = vllm.step

        def step() -> Any:
            outputs: list[Any] = []
            if self._profiles is not None:
                self._profiles.append(self._subject.profiled(lambda: outputs.extend(own())))
                return outputs
            began, used = time.perf_counter(), time.process_time()
            outputs = own()
            self._steps.append((time.perf_counter() - began, time.process_time() - used))
            return outputs

        vllm.step = step

    def sample(self, model: str, observe: bool, tokens: int, warm: bool = False) -> dict[str, Time]:
        """Sample a batch; to warm up, a few tokens of two documents.

        On a GPU, whose steps overlap, a decoding step is the mean beyond a batch of one token.
        """
        whole = self._batch(model, observe, WARM_TOKENS, WARM_ROWS) if warm else self._batch(model, observe, tokens)
        if self._subject.device.type != "cuda":
            first, *later = self._steps
            step = tuple(statistics.median(values) for values in zip(*later, strict=True))
            return {"whole": whole, "prefill": first, "step": (step[0], step[1])}
        prefill = self._batch(model, observe, 1)
        step = tuple((all_ - first) / (tokens - 1) for all_, first in zip(whole, prefill, strict=True))
        return {"whole": whole, "prefill": prefill, "step": (step[0], step[1])}

    def profile_sampling(self, tokens: int) -> dict[str, dict[str, float]]:
        """Profile a batch of the base model: seconds of each kind of operation in the prompts' step, and in a decoding step."""
        self._profiles = []
        try:
            self._batch("base", False, tokens)
            first, *later = self._profiles
        finally:
            self._profiles = None
        return {"prefill": first, "step": {name: statistics.fmean(one[name] for one in later) for name in first}}

    def _batch(self, model: str, observe: bool, tokens: int, rows: int | None = None) -> Time:
        self._steps.clear()
        decoding = replace(self._decoding, max_tokens=tokens)
        found: list[Time] = []
        with self._subject.timed(found):
            job = engine.job(self._models[model], self._requests[:rows], decoding)
            engine.sample_together(self._sampler, [job], observe=observe)
        return found[0]


def _nothing() -> Any:
    from autophage.trainer.bare_products import Elapsed

    return Elapsed(0.0, 0.0)
