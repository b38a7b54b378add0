"""Scenarios of an engine that has what it needs: swaps, mixed adapters, preemption, whole weights, overlapping calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from autophage.errors import SwapError
from autophage.sampler.protocol import Completion, Decoding, Job, Request
from autophage.store.weights import Weights

from .engine import BASE, SETTINGS, TOLERANCE, Rig, bits, nobody, prompts, tokens
from .mutations import MUTATIONS, Mutants
from .reference import STOP, VOCABULARY

GREEDY, DRAWN = Decoding(16, 0.0, 1.0, 0, ()), Decoding(16, 1.0, 1.0, 0, (STOP,))
EARLY = Decoding(40, 1.0, 1.0, 0, (STOP, *range(100, 140)))
"""Documents that end early and at different steps. Under async scheduling each has a row after its end."""
WAYS = (
    Decoding(8, 0.0, 1.0, 0, ()),
    EARLY,
    Decoding(8, 0.8, 0.9, 40, (STOP,)),
    Decoding(8, 1.0, 1.0, 0, (), repetition_penalty=1.3),
)


def swap(folder: Path) -> Rig:
    """Sample the base and two adapters in one batch, alone, unobserved and again; compare canaries; remove all."""
    rig = Rig(folder)
    own = type(rig.runner.sampler)
    weights: dict[int, Weights | None] = {0: None, 1: rig.reference.adapter(1), 2: rig.reference.adapter(2)}
    served = {n: BASE if one is None else rig.sampler.install(f"arm-{n}", one) for n, one in weights.items()}
    texts = prompts(4, longest=70)
    requests = {
        n: [Request(text, 2**62 + 100 * n + i, way) for i, (text, way) in enumerate(zip(texts, WAYS, strict=True))]
        for n in served
    }
    jobs = [Job(served[n], requests[n], DRAWN) for n in served]
    before = rig.happened["rows"]
    mixed = rig.sampler.sample(jobs, nobody)
    written = sum(len(ids) for found in mixed for ids in tokens(found))
    rig.facts |= {"rows after the end": rig.happened["rows"] - before - written, "tokens": written}
    rig.facts["different"] = len({str(ids) for found in mixed for ids in tokens(found)})
    for n, found in enumerate(mixed):
        rig.agree(f"model {n}", weights[n], requests[n], found)
        first = found[0].statistics
        rig.require(first is not None and bool((first.rank == 1).all()), f"model {n}: a greedy token is not the best")
        alone = rig.write(served[n], requests[n], DRAWN)
        rig.require(tokens(alone) == tokens(found), f"model {n} writes other tokens alone than beside others")
    unseen = rig.sampler.sample(jobs, nobody, observe=False)
    rig.require([*map(tokens, unseen)] == [*map(tokens, mixed)], "the observer changed a token")
    again = rig.sampler.sample(jobs, nobody)
    rig.require([*map(bits, again)] == [*map(bits, mixed)], "bits differ on repeat")
    rig.require(type(rig.runner.sampler) is own, "the hook is still on the runner's sampler")
    for n, one in served.items():
        canary = rig.sampler.canary(one, texts[:3])
        rig.agree(f"the canary of model {n}", weights[n], [Request(text, 0) for text in texts[:3]], canary)
    for one in list(served.values())[1:]:
        rig.sampler.remove(one)
    rig.require(rig.adapters() == [], f"adapters are left: {rig.adapters()}")
    return rig


def pressure(folder: Path) -> Rig:
    """Preempt requests, read prompts in pieces and find prefixes in the cache, for mixed adapters. Try wrong hooks too.

    Every document has a penalty. Where one is read again in pieces, another token would be sampled in its middle.
    """
    rig = Rig(folder, num_gpu_blocks_override=12, max_num_batched_tokens=24)
    random = np.random.default_rng(4)
    shared = random.integers(8, VOCABULARY, 64).tolist()
    weights: list[Weights | None] = [None, rig.reference.adapter(1), rig.reference.adapter(2)]
    served = [BASE if one is None else rig.sampler.install(f"arm-{n}", one) for n, one in enumerate(weights)]
    jobs = [
        Job(
            one,
            [
                Request(
                    [*shared[: 64 * (i % 3 == 1)], *random.integers(8, VOCABULARY, 1 + 7 * i).tolist()],
                    100 * n + i,
                    Decoding(44, float(i % 2), 1.0, 0, (), repetition_penalty=1.5),
                )
                for i in range(6)
            ],
            DRAWN,
        )
        for n, one in enumerate(served)
    ]
    mutants = Mutants()
    mutants.install()
    first = rig.sampler.sample(jobs, nobody)
    for n, (job, found) in enumerate(zip(jobs, first, strict=True)):
        rig.agree(f"model {n}", weights[n], job.requests, found)

    def worst(documents: Sequence[Completion]) -> dict[str, float]:
        asked = jobs[1].requests
        return rig.reference.differences(weights[1], asked, documents[len(asked) : 2 * len(asked)])

    rig.facts |= {"mutations": list(MUTATIONS), "seen": mutants.seen(worst, TOLERANCE)}
    return rig


def twenty(folder: Path) -> Rig:
    """Install, sample and remove twenty adapters in turn. Then use more adapters than a batch has slots."""
    rig = Rig(folder)
    texts = prompts(2, longest=20)
    for turn in range(20):
        weights = rig.reference.adapter(10 + turn)
        served = rig.sampler.install(f"arm@{turn}", weights)
        requests = [Request(text, 10 * turn + i) for i, text in enumerate(texts)]
        rig.agree(f"turn {turn}", weights, requests, rig.write(served, requests, Decoding(5, turn % 2, 1.0, 0, ())))
        rig.sampler.remove(served)
    rig.refused("a removed adapter", SwapError, "is not in the sampler", lambda: rig.write(served, requests, GREEDY))
    rig.require(rig.adapters() == [], f"adapters are left: {rig.adapters()}")
    # The runner hears of the last batch's end with the next step.
    kept = (rig.runner.req_states.req_id_to_index, rig.runner.lora_state.lora_requests)
    rig.require(max(map(len, kept)) <= len(texts), f"the runner keeps what ended: {kept}")
    six = [rig.reference.adapter(n) for n in range(1, SETTINGS.adapters + 1)]
    installed = [rig.sampler.install(f"one-{n}", one) for n, one in enumerate(six)]
    rig.refused("a seventh adapter", SwapError, "no room", lambda: rig.sampler.install("seventh", weights))
    jobs = [Job(one, [Request(text, i) for i, text in enumerate(texts)], WAYS[0]) for one in installed]
    for n, found in enumerate(rig.sampler.sample(jobs, nobody)):
        rig.agree(f"adapter {n} of six over three slots", six[n], jobs[n].requests, found)
    return rig


def push(folder: Path) -> Rig:
    """Push whole weights, go back to adapters and to the original base, and recover from weights that do not fit."""
    rig = Rig(folder)
    texts = [*prompts(3), np.random.default_rng(8).integers(8, VOCABULARY, 120).tolist()]
    requests = [Request(text, 7 + i) for i, text in enumerate(texts)]

    def agree(what: str, weights: Weights | None, served: Any, decoding: Decoding = WAYS[0]) -> None:
        rig.agree(what, weights, requests, rig.write(served, requests, decoding))

    adapter, late = rig.reference.adapter(1), rig.reference.adapter(2)
    with_adapter = rig.sampler.install("adapter", adapter)
    original = rig.sampler.install("whole@0", Weights(b"", {}, "full", reference="0" * 64))
    agree("the original base", None, original)
    agree("the adapter", adapter, with_adapter)
    pushed = {seed: rig.reference.whole(seed) for seed in (1, 2)}
    served = {seed: rig.sampler.install(f"whole@{seed}", one) for seed, one in pushed.items()}
    # Documents end early, so that a step is under way when the last one ends.
    agree("whole weights 1", pushed[1], served[1], EARLY)
    agree("whole weights 2", pushed[2], served[2], EARLY)
    rig.agree("the canary", pushed[2], requests, rig.sampler.canary(served[2], texts))
    agree("the adapter after whole weights", adapter, with_adapter)
    agree("whole weights 1 again", pushed[1], served[1])
    agree("an adapter that came among whole weights", late, rig.sampler.install("late", late))
    broken = save({**load(pushed[1].tensors), "model.norm.weight": torch.zeros(3)})
    misfit = rig.sampler.install("misfit", Weights(broken, {}, "full"))
    rig.refused("broken weights", SwapError, "vLLM does not take the weights", lambda: agree("-", None, misfit))
    agree("whole weights 2 after broken ones", pushed[2], served[2])
    agree("the original base again", None, original)
    return rig


def threads(folder: Path) -> Rig:
    """Call from several threads at once: batches, an unobserved batch, an installation with its canary, a proof of life."""
    rig = Rig(folder)
    weights = {n: rig.reference.adapter(n) for n in (1, 2)}
    served = {n: rig.sampler.install(f"arm-{n}", one) for n, one in weights.items()}
    requests = {n: [Request(text, 100 * n + i) for i, text in enumerate(prompts(5, seed=n))] for n in weights}
    decoding = Decoding(24, 1.0, 1.0, 0, (STOP,))
    alone = {n: rig.write(served[n], requests[n], decoding) for n in served}
    amid, texts = rig.reference.adapter(5), prompts(2)
    found: dict[str, Any] = {}

    def write(n: int, *, observe: bool = True) -> Callable[[], Any]:
        return lambda: rig.write(served[n], requests[n], decoding, observe=observe)

    def install() -> list[Completion]:
        new = rig.sampler.install("amid", amid)
        canary = rig.sampler.canary(new, texts)
        rig.sampler.remove(new)
        return canary

    calls: list[tuple[str, float, Callable[[], Any]]] = [
        ("1", 0.0, write(1)),
        ("2", 0.1, write(2)),
        ("proof", 0.15, lambda: rig.sampler.prove(60)),
        ("canary", 0.2, install),
        ("1 unobserved", 0.3, write(1, observe=False)),
        ("2 again", 0.4, write(2)),
    ]

    def call(name: str, delay: float, what: Callable[[], Any]) -> None:
        time.sleep(delay)
        try:
            found[name] = what()
        except Exception as error:  # of any type: it is a finding
            rig.faults.append(f"call {name}: {type(error).__name__}: {error}")

    running = [threading.Thread(target=call, args=one) for one in calls]
    for one in running:
        one.start()
    for one in running:
        one.join()
    for name, documents in found.items():
        if name[0] in "12":
            n = int(name[0])
            rig.require(tokens(documents) == tokens(alone[n]), f"call {name} writes other tokens than alone")
            if "unobserved" not in name:
                rig.agree(f"call {name}", weights[n], requests[n], documents)
    rig.agree("the canary amid calls", amid, [Request(text, 0) for text in texts], found.get("canary", []))
    rig.facts["proved by a document"] = found.get("proof")
    rig.require(rig.adapters() == [1, 2], f"adapters are left: {rig.adapters()}")
    return rig
