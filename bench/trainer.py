"""Tokens a second of training: `autophage bench trainer`."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
from harness import engine, light, processes
from harness.command import Benchmark, BenchmarkResults, positive
from harness.rows import OURS, Measurement, rows_of, values_of
from harness.statistics import ratios
from harness.subject import Loop, add_options, loop_of
from harness.turns import Budget, Figures, take_turns

DESCRIPTION = """One pass of LoRA training over the same documents, in real (unpadded) tokens a second.

autophage     the resident trainer, with statistics of every trained token
trl default   TRL's SFTTrainer with its defaults (on a CPU: bfloat16 autocast and gradient checkpointing)
trl clean     the same as a careful user sets it: no autocast and no checkpointing on a CPU, no logging, batches of similar
              length (bench/peers/naive_train.py --clean)

At `mixed` documents have 16 to --tokens tokens. At `full` all have --tokens. Each turn is a fresh process that trains
twice and times the second, warm pass. The time includes the trainer's construction. MFU counts 4 FLOPs a parameter and
token (LoRA: forward, and backward through frozen weights). It is given only on a GPU whose peak is known.

On two quiet cores a turn takes about 2 minutes at 256 documents."""
DEADLINE = 1800.0
PEERS = {"trl default": [], "trl clean": ["--clean"]}
SHORTEST = 16
UNITS = {"training rate": "tokens/s", "pass": "s", "mfu": "share"}


def options(parser: argparse.ArgumentParser) -> None:
    add_options(parser)
    parser.add_argument("--samples", type=positive, default=256, help="documents (256)")
    parser.add_argument("--lengths", choices=("mixed", "full", "both"), default="both")


def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
    loop = loop_of(chosen, samples=16 if chosen.quick else chosen.samples)
    prepared = processes.work(Path(__file__), "prepare", loop.as_spec(), DEADLINE)
    gpu = light.named(str(results.facts["device"]))
    for lengths in ("mixed", "full") if chosen.lengths == "both" and not chosen.quick else (chosen.lengths,):
        lengths = "mixed" if lengths == "both" else lengths
        if results.rows and not budget.left:
            results.remarks.append(f"The budget was spent before {lengths!r}.")
            continue
        rows = documents(loop, lengths == "mixed", prepared["start"])
        with tempfile.TemporaryDirectory(prefix="autophage-bench-") as name:
            taken = take_turns(contenders(loop, prepared, rows, Path(name)), chosen.repeats, budget, f"{lengths}: ")
        found = rows_of(lengths, taken, UNITS)
        rate = values_of(found, lengths, OURS, "training rate")
        for peer in PEERS:
            if values := ratios(rate, values_of(found, lengths, peer, "training rate")):
                found.append(Measurement(lengths, f"{OURS} over {peer}", "training rate", "x", values))
        if gpu:
            per_token = 4 * int(prepared["parameters"])
            found += [
                Measurement(
                    lengths, row.contender, "mfu", "share", [rate * per_token / gpu.flops for rate in row.values]
                )
                for row in found
                if row.figure == "training rate" and row.unit == "tokens/s"
            ]
        results.add(found, lengths=lengths, documents=len(rows), loop=vars(loop), parameters=prepared["parameters"])


def documents(loop: Loop, mixed: bool, start: Sequence[int]) -> list[list[int]]:
    """Random token ids from the smallest vocabulary in use. Only their number matters to the time."""
    draw = random.Random(0)
    shortest = min(SHORTEST, loop.tokens) if mixed else loop.tokens
    lengths = [draw.randint(shortest, loop.tokens) for _ in range(loop.samples)]
    return [[*start, *(draw.randrange(4, 60) for _ in range(length))] for length in lengths]


def contenders(loop: Loop, prepared: Mapping[str, Any], rows: list[list[int]], folder: Path) -> dict[str, Any]:
    samples = folder / "samples.jsonl"
    samples.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in rows), "utf-8")

    def ours() -> Figures:
        spec = loop.as_spec() | {"samples": str(samples), "start": len(prepared["start"])}
        answer: dict[str, float] = processes.work(Path(__file__), "ours", spec, DEADLINE)
        return answer

    def peer(extra: list[str]) -> Any:
        def turn() -> Figures:
            asked = ["--model", prepared["model"], "--samples", str(samples), "--passes", "2"]
            script = harness.BENCH / "peers" / "naive_train.py"
            phases = processes.script(
                script, [*asked, *loop.training_options(), *extra], processes.quiet(), DEADLINE, folder
            )
            return {"pass": phases["train"], "training rate": phases["tokens"] * loop.epochs / phases["train"]}

        return turn

    return {OURS: ours, **{name: peer(extra) for name, extra in PEERS.items()}}


def ours(spec: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Worker: two passes of the resident trainer over the documents. The second is timed."""
    from autophage.data.mix import TrainingOrder, TrainingRow
    from autophage.trainer.fit import FitRequest

    loop = Loop.of(spec)
    live = engine.Live(loop, folder)
    [arm] = live.arms
    lines = Path(spec["samples"]).read_text("utf-8").splitlines()
    rows = [TrainingRow(json.loads(line)["input_ids"], int(spec["start"])) for line in lines]
    tokens = sum(len(row.token_ids) for row in rows)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        ordered = TrainingOrder(rows, arm.recipe, 0)
        live.bench.resident.fit(FitRequest(live.bench.base_weights(arm), ordered, arm.recipe, 0))
        seconds = time.perf_counter() - began
    return {"pass": seconds, "training rate": tokens * loop.epochs / seconds}


BENCHMARK = Benchmark(
    "trainer",
    DESCRIPTION,
    "autophage bench trainer --lengths mixed --samples 512",
    minutes=20,
    measure=measure,
    options=options,
    workers={"prepare": engine.prepare, "ours": ours},
)
main = BENCHMARK.main

if __name__ == "__main__":
    sys.exit(main())
