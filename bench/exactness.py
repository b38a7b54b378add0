"""Share of samples that come from the model they are attributed to: `autophage bench exactness`."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness import engine, processes
from harness.command import Benchmark, BenchmarkResults, positive
from harness.rows import OURS, Measurement
from harness.subject import Loop, add_options, loop_of
from harness.targets import Target
from harness.turns import Budget

if TYPE_CHECKING:
    from autophage.sampler.protocol import Request

DESCRIPTION = """Greedy samples of many adapters in one engine, compared with those of an engine with one adapter.

together     more adapters than the engine has slots, in batches of all adapters. The KV cache is so small that sequences are
             preempted. After each of --rounds rounds half the adapters leave and return under new ids, in another order. A batch
             then holds models of several generations.
alone        a process and an engine for each adapter, with room for everything
reused id    stock vLLM with an adapter under an id that another adapter had. Its samples are compared with those of the same
             adapter under a fresh id (1 would be right, but the old weights are served).

`identical` is the share of samples that are equal token by token. If two samples part, the trainer's own forward pass
measures the gap between the two tokens. Below 1e-4 nats it is a tie, which rounding decides by the shape of the batch.
The sample is of the right model nevertheless. `digest` is the share of samples whose adapter is the one sealed on disk
(SHA-256 of its file). `identical but for ties` and `digest` must be 1, else the exit code is 1. On a GPU in 16 bits
rounding is coarser, and the first is only reported.

On two quiet cores it takes about 3 minutes with 8 adapters. Nothing is repeated, as no figure is a time."""
DEADLINE = 1800.0
TOKENS = 160
"""Sequences longer than one block of the KV cache, so that they grow and are preempted."""
SLOTS = 4
KV_BLOCKS = 14
PROMPTS = 12
TIE = 1e-4
"""Nats. Below it, float32 rounding of about 1e-5 decides which of two tokens is likelier. Batches of different shapes add in
different orders. Another model's choice is tenths of a nat away."""


def options(parser: argparse.ArgumentParser) -> None:
    add_options(parser)
    parser.set_defaults(repeats=1, tokens=TOKENS)
    parser.add_argument("--adapters", type=positive, default=8, help="number of adapters (8)")
    parser.add_argument("--rounds", type=positive, default=3, help="rounds of the batch of all adapters (3)")


def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
    adapters, rounds = (2, 2) if chosen.quick else (chosen.adapters, chosen.rounds)
    loop = loop_of(chosen, samples=8, tokens=TOKENS)
    here = Path(__file__)
    with tempfile.TemporaryDirectory(prefix="autophage-bench-") as name:
        spec = loop.as_spec() | {"adapters": adapters, "rounds": rounds, "sealed": name}
        together = processes.work(here, "together", spec, DEADLINE)
        compared = range(1 if chosen.quick else adapters)
        alone = {n: processes.work(here, "alone", spec | {"adapter": n}, DEADLINE)["tokens"] for n in compared}
        stock = processes.script(
            harness.BENCH / "peers" / "reused_id.py",
            ["--model", together["model"], "--first", f"{name}/0/adapter", "--second", f"{name}/1/adapter",
             "--prompts", f"{name}/prompts.json", "--tokens", str(TOKENS)],
            processes.plain_vllm(tuned=True),
            DEADLINE,
            Path(name),
        )  # fmt: skip
        pairs = [
            (job["adapter"], number, mine, alone[job["adapter"]][number])
            for job in together["jobs"] if job["adapter"] in alone
            for number, mine in enumerate(job["tokens"])
        ]  # fmt: skip
        apart = [pair for pair in pairs if pair[2] != pair[3]]
        gaps = processes.work(here, "referee", spec | {"apart": apart}, DEADLINE)["gaps"] if apart else []
    identical = 1 - len(apart) / len(pairs)
    explained = 1 - sum(gap > TIE for gap in gaps) / len(pairs)
    jobs, sealed = together["jobs"], together["sealed"]
    digests = share([job["digest"] == sealed[job["adapter"]] for job in jobs])
    distinct = len({json.dumps(job["tokens"]) for job in jobs[:adapters]})
    point = f"{adapters} adapters"
    results.add(
        [
            Measurement(point, OURS, "identical", "share", [identical]),
            Measurement(point, OURS, "identical but for ties", "share", [explained]),
            Measurement(point, OURS, "widest gap where they part", "nats", [max(gaps, default=0.0)]),
            Measurement(point, OURS, "digest", "share", [digests]),
            Measurement(point, OURS, "preemptions", "", [together["preemptions"]]),
            Measurement(point, OURS, "adapters that write differently", "", [distinct]),
            Measurement(point, "vllm, reused id", "identical to the new weights", "share", [stock["new"]]),
            Measurement(point, "vllm, reused id", "identical to the old weights", "share", [stock["old"]]),
        ],
        loop=vars(loop),
        samples=sum(len(one["tokens"]) for one in jobs),
    )
    results.judge(
        Target("samples identical to those of the adapter alone", identical, 1.0, "at least"),
        Target("samples identical, or parted by a tie", explained, 1.0, "at least"),
        Target("samples under the sealed adapter", digests, 1.0, "at least"),
    )
    if distinct < adapters or not together["preemptions"]:
        results.broken.append(
            f"the test is void: {distinct} of {adapters} adapters write differently, {together['preemptions']} preemptions"
        )
    exact = together["device"] == "cpu"
    if digests < 1 or (exact and explained < 1):
        results.broken.append(f"identical but for ties {explained:.4f}, digest {digests:.4f}: both must be 1")


def share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


def referee(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Worker: log-prob difference, under the trainer's own model, of the tokens at which two samples part."""
    live = engine.Live(Loop.of(spec), folder)
    prompts = json.loads(Path(spec["sealed"], "prompts.json").read_text("utf-8"))["prompts"]
    gaps = []
    for adapter, number, mine, theirs in spec["apart"]:
        live.bench.resident.load(engine.load_weights(Path(spec["sealed"], str(adapter))))
        same = next(index for index, (one, other) in enumerate(zip(mine, theirs, strict=True)) if one != other)
        before = [*prompts[number], *mine[:same]]
        scored = live.bench.resident.score([[*before, mine[same]], [*before, theirs[same]]], [len(before)] * 2)
        one, other = (float(found.logprob[0]) for found in scored)
        gaps.append(abs(one - other))
    return {"gaps": gaps}


def seal(live: engine.Live, count: int, folder: Path) -> list[str]:
    """Put adapters and prompts on disk; returns the digests of what is there."""
    digests = []
    for number, weights in enumerate(engine.variants(live, count)):
        kept = folder / str(number)
        kept.mkdir()
        weights.save(kept)
        digests.append(hashlib.sha256((kept / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest())
    texts = [document.token_ids for document in live.bench.source.held_out()[:PROMPTS]]
    prompts = [ids[: 4 + index] for index, ids in enumerate(texts)]
    (folder / "prompts.json").write_text(json.dumps({"prompts": prompts}), "utf-8")
    return digests


def together(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Worker: all adapters in every batch, in a KV cache that is too small for them."""
    live = engine.Live(Loop.of(spec), folder)
    count = int(spec["adapters"])
    sealed = seal(live, count, Path(spec["sealed"]))
    per_token = live.bench.engine_settings(live.arms).kv_bytes_per_token
    memory = KV_BLOCKS * 128 * per_token / 2**30
    on_cpu = live.bench.engine_settings(live.arms).device == "cpu"
    changes = {"memory": memory} if on_cpu else {}
    sampler = live.sampler(longest=256, adapters=2 * count, mixed=min(count, SLOTS), **changes)
    preemptions = engine.Preemptions(sampler)
    weights = [engine.load_weights(Path(spec["sealed"], str(number))) for number in range(count)]
    served = {number: sampler.install(f"arm-{number}@0", one) for number, one in enumerate(weights)}
    jobs = []
    for turn in range(int(spec["rounds"])):
        order = sorted(served, key=lambda number: (number * 5 + turn * 3) % count)
        asked = [engine.job(served[number], _requests(spec), engine.greedy(live, TOKENS)) for number in order]
        for number, answers in zip(order, engine.sample_together(sampler, asked), strict=True):
            tokens = [answer.token_ids for answer in answers]
            jobs.append({"adapter": number, "digest": served[number].digest, "tokens": tokens})
        for number in order[::2]:
            sampler.remove(served[number])
            served[number] = sampler.install(f"arm-{number}@{turn + 1}", weights[number])
    return {
        "jobs": jobs,
        "sealed": sealed,
        "preemptions": preemptions.count,
        "model": live.model_path,
        "device": "cpu" if on_cpu else "gpu",
    }


def alone(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A worker: one adapter in an engine of its own."""
    live = engine.Live(Loop.of(spec), folder)
    sampler = live.sampler(longest=256)
    served = sampler.install("alone@0", engine.load_weights(Path(spec["sealed"], str(spec["adapter"]))))
    [answers] = engine.sample_together(sampler, [engine.job(served, _requests(spec), engine.greedy(live, TOKENS))])
    return {"tokens": [answer.token_ids for answer in answers]}


def _requests(spec: Mapping[str, Any]) -> list[Request]:
    from autophage.sampler.protocol import Request

    prompts = json.loads(Path(spec["sealed"], "prompts.json").read_text("utf-8"))["prompts"]
    return [Request(ids, index) for index, ids in enumerate(prompts)]


BENCHMARK = Benchmark(
    "exactness",
    DESCRIPTION,
    "autophage bench exactness --adapters 8",
    minutes=10,
    measure=measure,
    options=options,
    workers={"referee": referee, "together": together, "alone": alone},
)
main = BENCHMARK.main

if __name__ == "__main__":
    sys.exit(main())
