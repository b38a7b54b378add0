"""One generation of the loop beside the loops that people write: `autophage bench loop`."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness
from autophage.errors import UserError
from harness import engine, processes
from harness.command import Benchmark, BenchmarkResults, counts, positive
from harness.rows import OURS, Measurement, rows_of, values_of
from harness.statistics import ratios, spread
from harness.subject import Loop, add_options, loop_of
from harness.targets import Target
from harness.turns import Budget, Figures, take_turns

DESCRIPTION = """One generation of the loop at N samples, beside the loops that people write.

autophage      trainer and sampler stay in their process. A generation trains a LoRA adapter on the corpus before, swaps it in,
               checks it, samples, and writes corpus and adapter. Each turn is a fresh process that makes corpus 0 and then
               --generations timed generations. `generation` is their median. `start` is the time before corpus 0. `amortised` is
               a generation with its share of `start` in a run of 5 generations.
naive default  a fresh process starts vLLM on the merged model, samples and exits. Another loads the model, trains LoRA with TRL's
               defaults, merges and saves. `generation` is the time of both.
naive tuned    the same with vLLM's engine in its own process and TRL set as a careful user does (bench/peers/naive_train.py)
generate 4, 16 transformers' generate in batches of 4 and 16, without loading: the sampling rate only

All have the same samples, tokens, epochs, steps, batch size, hyper-parameters and threads. Only autophage records
statistics of every sampled token. Measurements of models and corpora are left out everywhere.

On two quiet cores a turn of all contenders takes about 2 minutes at 256 samples and 4 at 1024. The whole curve takes
about 45 minutes. The first of --samples is measured first, so that a spent budget cuts the end of the curve."""
RUN = 5
"""Generations of the demo run. `amortised` divides the start by it."""
DEADLINE = 1800.0
NAIVE = {"naive default": False, "naive tuned": True}
GENERATE = {"generate 4": "4", "generate 16": "16"}
PEERS = (*NAIVE, *GENERATE)
JUDGED = 256
"""Samples at which targets apply. Fixed costs and work are of one size there."""
UNITS = {
    **dict.fromkeys(("generation", "amortised", "start", "train", "swap", "sample", "save"), "s"),
    **dict.fromkeys(("sample process", "train process", "import", "load", "merge"), "s"),
    "sampling rate": "tokens/s",
    "training rate": "tokens/s",
    "overhead": "share",
}


def options(parser: argparse.ArgumentParser) -> None:
    add_options(parser)
    parser.add_argument("--samples", type=counts, default=[256, 64, 16, 1024], help="list of N (256,64,16,1024)")
    parser.add_argument("--generations", type=positive, default=3, help="timed generations in each of our turns (3)")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"list of peers, or none ({','.join(PEERS)})")


def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
    peers = [name.strip() for name in chosen.peers.split(",") if name.strip() not in ("", "none")]
    if unknown := sorted(set(peers) - set(PEERS)):
        raise UserError(f"--peers knows {', '.join(PEERS)}; got {', '.join(unknown)}")
    for samples in [8] if chosen.quick else chosen.samples:
        if results.rows and not budget.left:
            results.remarks.append(f"The budget was spent before N = {samples}.")
            continue
        loop = loop_of(chosen, samples=samples, generations=1 if chosen.quick else chosen.generations)
        with tempfile.TemporaryDirectory(prefix="autophage-bench-") as folder:
            contest = Contest(loop, Path(folder))
            contenders = {OURS: contest.ours}
            contenders |= {name: contest.naive(name, clean) for name, clean in NAIVE.items() if name in peers}
            contenders |= {name: contest.generate(size) for name, size in GENERATE.items() if name in peers}
            taken = take_turns(contenders, chosen.repeats, budget, f"N {samples}: ")
        point = f"N {samples}"
        rows = rows_of(point, taken, UNITS)
        speedups = {
            (name, figure): ratios(values_of(rows, point, name, "generation"), values_of(rows, point, OURS, figure))
            for name in NAIVE
            for figure in ("generation", "amortised")
        }
        rates = values_of(rows, point, OURS, "sampling rate")
        speedups |= {
            (name, "sampling rate"): ratios(rates, values_of(rows, point, name, "sampling rate")) for name in GENERATE
        }
        rows += [_speedup(point, name, figure, values) for (name, figure), values in speedups.items() if values]
        results.add(rows, samples=samples, loop=vars(loop))
    _judge(results, f"N {JUDGED}")


def _speedup(point: str, peer: str, figure: str, values: list[float]) -> Measurement:
    return Measurement(point, f"{OURS} over {peer}", figure, "x", values)


def _judge(results: BenchmarkResults, point: str) -> None:
    for peer, figure, bound in (
        ("naive default", "generation", 5.0),
        ("naive tuned", "generation", 3.0),
        ("generate 4", "sampling rate", 10.0),
    ):
        values = values_of(results.rows, point, f"{OURS} over {peer}", figure)
        what = f"{figure} at {point}, times as fast as {peer}"
        results.judge(Target(what, spread(values).median if values else None, bound, "at least"))


class Contest:
    """Contenders at one N. A naive loop continues from the model that it merged in the turn before."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        self.loop = loop
        self.folder = folder
        prepared = processes.work(Path(__file__), "prepare", loop.as_spec(), DEADLINE)
        self.model = str(prepared["model"])
        self.dtype = str(prepared["dtype"])
        self.prompts = engine.write_prompts(prepared, folder / "prompts.json")

    def ours(self) -> Figures:
        figures: dict[str, float] = processes.work(Path(__file__), "ours", self.loop.as_spec(), DEADLINE)
        return figures

    def naive(self, name: str, tuned: bool) -> Any:
        own = self.folder / name.replace(" ", "-")
        own.mkdir()
        models = [self.model]

        def turn() -> Figures:
            samples, merged = own / "samples.jsonl", own / f"model-{len(models)}"
            sampling = self._sampling(models[-1], samples, tuned)
            training = self._training(models[-1], samples, merged, tuned)
            if len(models) > 1:
                shutil.rmtree(models[-1])
            models.append(str(merged))
            wall = sampling["wall"] + training["wall"]
            return {
                "generation": wall,
                "sample process": sampling["wall"],
                "train process": training["wall"],
                "start": sampling["start"],
                "sample": sampling["sample"],
                "load": training["load"],
                "train": training["train"],
                "merge": training["merge"],
                "save": training["save"],
                "import": sampling["import"] + training["import"],
                "sampling rate": sampling["tokens"] / sampling["sample"],
                "overhead": 1 - (sampling["sample"] + training["train"]) / wall,
            }

        return turn

    def _sampling(self, model: str, samples: Path, tuned: bool) -> dict[str, float]:
        return self._script(
            "naive_sample.py",
            ["--model", model, "--prompts", str(self.prompts), "--tokens", str(self.loop.tokens), "--out", str(samples),
             "--dtype", self.dtype, "--concurrency", str(self.loop.concurrency)],
            processes.plain_vllm(tuned=tuned),
        )  # fmt: skip

    def _training(self, model: str, samples: Path, merged: Path, tuned: bool) -> dict[str, float]:
        return self._script(
            "naive_train.py",
            ["--model", model, "--samples", str(samples), "--out", str(merged), *self.loop.training_options(),
             *(["--clean"] if tuned else [])],
            processes.quiet(),
        )  # fmt: skip

    def generate(self, size: str) -> Any:
        documents = min(self.loop.samples, 16 * int(size))

        def turn() -> Figures:
            asked = ["--model", self.model, "--prompts", str(self.prompts), "--tokens", str(self.loop.tokens)]
            phases = self._script(
                "generate.py", [*asked, "--batches", size, "--documents", str(documents)], processes.quiet()
            )
            return {"sampling rate": phases[size]}

        return turn

    def _script(self, name: str, options: list[str], environment: Mapping[str, str]) -> dict[str, float]:
        return processes.script(harness.BENCH / "peers" / name, options, environment, DEADLINE, self.folder)


def ours(spec: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Worker: start, make corpus 0, then make the timed generations."""
    loop = Loop.of(spec)
    live = engine.Live(loop, folder)
    sampler = live.sampler()
    started = time.time() - float(spec["launched"])
    [arm] = live.arms
    weights = live.bench.base_weights(live.arms[0])
    corpus = live.write(sampler, arm, 0, live.swap(sampler, f"{arm.name}@0", weights))
    turns: list[dict[str, float]] = []
    for number in range(1, loop.generations + 1):
        trained, corpus, seconds = live.generation(sampler, arm, number, weights, corpus)
        weights = trained.weights
        turns.append(seconds)
    medians = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    tokens = loop.samples * loop.tokens
    return {
        **medians,
        "start": started,
        "amortised": medians["generation"] + started / RUN,
        "sampling rate": tokens / medians["sample"],
        "training rate": (tokens + loop.samples) * loop.epochs / medians["train"],
        "overhead": 1 - (medians["sample"] + medians["train"]) / medians["generation"],
    }


BENCHMARK = Benchmark(
    "loop",
    DESCRIPTION,
    "autophage bench loop --samples 256 --repeats 5",
    minutes=50,
    measure=measure,
    options=options,
    workers={"prepare": engine.prepare, "ours": ours},
)
main = BENCHMARK.main

if __name__ == "__main__":
    sys.exit(main())
