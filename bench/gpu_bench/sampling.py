"""Steps with vLLM: start, swap and canary; recording and a generation; adapters in a batch.

Each measurement of a step may fail, and the others still get their turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.host import environment
from gpu_bench import subjects
from gpu_bench.evidence import Evidence
from gpu_bench.plan import CONCURRENCY, Step, work_of
from harness import engine, light
from harness.rows import OURS
from harness.statistics import percentile, ratios
from harness.subject import random_model

if TYPE_CHECKING:
    from autophage.sampler.engine import Sampler
    from autophage.sampler.protocol import Served
    from autophage.store.weights import Weights

SWAPS = 12
TURNS = 3
STAGES = ("train", "swap", "sample", "save", "generation")
SMALL_STEP = 1e-5
"""Learning rate of the step by which the stale adapter of the canary is behind. Adam moves each value by about as much."""
DISTINCT_ADAPTERS = 4
"""Different contents of adapters. Each has a place of its own on the GPU, and equal contents take the same time."""


@contextmanager
def measurement(evidence: Evidence, point: str) -> Iterator[None]:
    """Keep a failure as a row. Anything may fail on a device that nobody has measured, and the next one still runs."""
    try:
        yield
    except Exception as error:
        import traceback

        traceback.print_exc()
        evidence.fail(point, OURS, f"{type(error).__name__}: {str(error).strip()[:600]}")


def started(step: Step, evidence: Evidence, folder: Path) -> tuple[engine.Live, Sampler]:
    """Trainer and sampler as a run has them, with rows of the seconds that each took."""
    environment.apply()
    with seconds(step, evidence, "imports"):
        import transformers  # noqa: F401
        import vllm  # noqa: F401
    with seconds(step, evidence, "random weights"):
        random_model(step.shape)
    with seconds(step, evidence, "trainer starts"):
        live = engine.Live(subjects.loop_of(step), folder)
    with seconds(step, evidence, "engine starts"):
        sampler = live.sampler()
    evidence.add(step.key, OURS, "process to engine", "s", [time.time() - float(evidence.parameters["launched"])])
    return live, sampler


@contextmanager
def seconds(step: Step, evidence: Evidence, figure: str) -> Iterator[None]:
    """Keep the time of a part of the start as a row."""
    began = time.perf_counter()
    yield
    evidence.add(step.key, OURS, figure, "s", [time.perf_counter() - began])


def swap(step: Step, evidence: Evidence, folder: Path) -> None:
    """Worker: adapters from the trainer's memory into the running engine, and the canary's differences."""
    live, sampler = started(step, evidence, folder)
    adapters = engine.variants(live, 2)
    with measurement(evidence, f"{step.key} swap"):
        taken: dict[str, list[float]] = {"swap": [], "first token": []}
        for number in range(-2, SWAPS):
            began = time.perf_counter()
            served = sampler.install(f"bench@{number + 2}", adapters[number % 2])
            swapped = time.perf_counter()
            engine.first_token(sampler, served.name, served.adapter_id, f"/memory/{served.name}")
            ended = time.perf_counter()
            sampler.remove(served)
            if number >= 0:  # the first two warm up
                taken["swap"].append(1e3 * (swapped - began))
                taken["first token"].append(1e3 * (ended - began))
        evidence.add(f"{step.key} swap", OURS, "adapter", "MB", [len(adapters[0].tensors) / 1e6])
        for figure, values in taken.items():
            evidence.add(f"{step.key} swap", OURS, figure, "ms", values)
    with measurement(evidence, f"{step.key} canary"):
        _canary(live, sampler, adapters[0], f"{step.key} canary", evidence)


def _canary(live: engine.Live, sampler: Sampler, weights: Weights, point: str, evidence: Evidence) -> None:
    """Differences of log-probs between sampler and trainer: for the same adapter, and for one that is a small step ahead."""
    prompts = [request.prompt_ids for request in live.bench.requests(live.arms[0], 0)]
    served = sampler.install("canary@0", weights)
    completions = sampler.canary(served, prompts)
    sampler.remove(served)
    for contender, own in (("same adapter", weights), ("one step of 1e-5 behind", stepped(weights))):
        differences = engine.canary_differences(live, own, prompts, completions)
        for figure, value in (
            ("largest", max(differences)),
            ("mean", statistics.fmean(differences)),
            ("p90", percentile(differences, 0.9)),
        ):
            evidence.add(point, contender, figure, "nats", [value], f"{len(differences)} tokens")


def stepped(weights: Weights) -> Weights:
    """The adapter after a step of Adam: every value moved by the learning rate, up or down."""
    import safetensors.torch
    import torch

    from autophage.store.weights import Weights

    generator = torch.Generator().manual_seed(1)
    tensors = safetensors.torch.load(weights.tensors)
    for name, tensor in tensors.items():
        signs = torch.randint(2, tensor.shape, generator=generator) * 2 - 1
        tensors[name] = tensor + SMALL_STEP * signs.to(tensor.dtype)
    return Weights(safetensors.torch.save(tensors), weights.config)


def arm(step: Step, evidence: Evidence, folder: Path) -> None:
    """Worker: an arm as a run has it. Recording on and off, then one generation."""
    live, sampler = started(step, evidence, folder)
    pieces: dict[str, tuple[Callable[..., None], str]] = {
        "recording": (recording, "share of time"),
        "generation": (generation, "training rate"),
    }
    for name, (piece, last) in pieces.items():
        point = f"{step.key} {name}"
        if not evidence.values(point, OURS, last):  # else an earlier command measured it to its end
            with measurement(evidence, point):
                piece(step, live, sampler, point, evidence)


def recording(step: Step, live: engine.Live, sampler: Sampler, point: str, evidence: Evidence) -> None:
    """Rates with the observer on and off, in turns A B B A, and whether the tokens are the same."""
    [arm] = live.arms
    served = sampler.install("observed@0", engine.variants(live, 1)[0])
    job = engine.job(served, live.bench.requests(arm, 0)[:CONCURRENCY], live.bench.decoding(arm))
    taken: dict[bool, list[float]] = {False: [], True: []}
    documents: dict[bool, list[list[int]]] = {}
    for turn in range(-1, 1 if evidence.parameters["quick"] else TURNS):
        for observe in (False, True)[:: 1 if turn % 2 == 0 else -1]:
            began = time.perf_counter()
            [answers] = engine.sample_together(sampler, [job], observe=observe)
            if turn >= 0:  # the first turn warms up
                taken[observe].append(time.perf_counter() - began)
            documents[observe] = [answer.token_ids for answer in answers]
    sampler.remove(served)
    tokens = sum(map(len, documents[True]))
    for observe, name in ((False, "recording off"), (True, "recording on")):
        rates = [tokens / one for one in taken[observe]]
        evidence.add(point, name, "sampling rate", "tokens/s", rates, f"{len(documents[True])} sequences, 1 adapter")
    evidence.add(point, OURS, "rate on over off", "x", ratios(taken[False], taken[True]))
    evidence.add(point, OURS, "same tokens on and off", "share", [_same(documents[False], documents[True])])
    evidence.add(point, OURS, "share of time", "share", [1 - one for one in ratios(taken[False], taken[True])])


def _same(one: Sequence[Any], other: Sequence[Any]) -> float:
    return sum(1 for a, b in zip(one, other, strict=True) if a == b) / len(one)


def generation(step: Step, live: engine.Live, sampler: Sampler, point: str, evidence: Evidence) -> None:
    """One generation after a warm-up of the trainer: each stage, rates, and shares of the lower bound."""
    [arm] = live.arms
    start = live.bench.base_weights(arm)
    served = live.swap(sampler, f"{arm.name}@0", start)
    corpus = live.write(sampler, arm, 0, served)
    live.train(arm, 1, start, corpus[: 2 * step.batch_size])
    trained, written, stages = live.generation(sampler, arm, 1, start, corpus)
    for figure in STAGES:
        evidence.add(point, OURS, figure, "s", [stages[figure]])
    if gpu := light.named(str(evidence.facts["device"])):
        work = work_of(step, trained.tokens / len(corpus))
        bounds = {"generation": light.generation, "sample": light.sampling, "train": light.training}
        for figure, bound in bounds.items():
            share = bound(work, gpu) / stages[figure]
            evidence.add(point, OURS, f"{figure}, fraction of light", "share", [share])
    sampled = sum(len(sample.token_ids) for sample in written)
    evidence.add(point, OURS, "sampling rate", "tokens/s", [sampled / stages["sample"]], f"{len(written)} samples")
    evidence.add(point, OURS, "training rate", "tokens/s", [trained.tokens / stages["train"]])


def plain(step: Step, evidence: Evidence, folder: Path) -> None:
    """Worker: rate of an engine without LoRA, the base of the tax."""
    environment.apply()
    random_model(step.shape)
    with seconds(step, evidence, "engine starts"):
        sampler = subjects.engine_alone(step, 0)
    with measurement(evidence, _tax_point(step)):
        _rates(step, evidence, sampler, {"without LoRA": [subjects.base()]})


def tax(step: Step, evidence: Evidence, folder: Path) -> None:
    """Worker: rates with K adapters mixed in the batches of one engine. K = 0 is the base model in the same engine."""
    environment.apply()
    random_model(step.shape)
    most = max(step.adapters)
    with seconds(step, evidence, "engine starts"):
        sampler = subjects.engine_alone(step, most)
    with measurement(evidence, _tax_point(step)):
        contents = [subjects.random_adapter(step, seed) for seed in range(min(DISTINCT_ADAPTERS, most))]
        with seconds(step, evidence, f"{most} adapters installed"):
            served = [sampler.install(f"arm-{n}@0", contents[n % len(contents)]) for n in range(most)]
        models = {f"K = {count}": served[:count] or [subjects.base()] for count in step.adapters}
        _rates(step, evidence, sampler, models)


def _rates(step: Step, evidence: Evidence, sampler: Sampler, models: dict[str, list[Served]]) -> None:
    """Rate of each set of models, in turns. Nothing is recorded: the tax is LoRA's alone."""
    point, asked = _tax_point(step), subjects.requests(step)
    rates: dict[str, list[float]] = {name: [] for name in models}
    without = evidence.values(point, "without LoRA", "sampling rate")
    for turn in range(-1, 1 if evidence.parameters["quick"] else TURNS):
        for name, served in models.items():
            began = time.perf_counter()
            engine.sample_together(sampler, subjects.divided(served, step, asked), observe=False)
            if turn >= 0:  # the first turn warms up
                rates[name].append(len(asked) * step.tokens / (time.perf_counter() - began))
    for name, values in rates.items():
        evidence.add(point, name, "sampling rate", "tokens/s", values, f"{len(asked)} sequences, rank {step.rank}")
        if without and name != "without LoRA":
            own = statistics.median(without)
            evidence.add(point, name, "of without LoRA", "share", [value / own for value in values])


def _tax_point(step: Step) -> str:
    return f"LoRA tax {step.shape}"
