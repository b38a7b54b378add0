"""Time to serve another model: `autophage bench swap`."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.errors import RunError
from harness import engine, processes
from harness.command import Benchmark, BenchmarkResults, positive
from harness.rows import OURS, Measurement, rows_of, values_of
from harness.statistics import percentile, quarters, ratios, spread
from harness.subject import Loop, add_options, loop_of
from harness.targets import Target
from harness.turns import Budget, Figures, take_turns

if TYPE_CHECKING:
    from autophage.sampler.engine import Sampler
    from autophage.store.weights import Weights

DESCRIPTION = """Time from a trained model in the trainer's memory to the first token that it writes.

autophage       the adapter's tensors go into the running engine (Sampler.install)
vllm add_lora   vLLM reads the adapter from a folder, in the same engine, in turns with ours. `with save` adds writing it.
reload          vLLM without LoRA reloads merged weights from a folder (reload_weights)
restart         a new process starts vLLM on the merged weights (one process: the tuned, quickest way)

`swap` is the call alone. `first token` is the call and one token of one request. p50 and p95 are over the --swaps swaps
of each turn. `last quarter` compares the last quarter of the swaps with the first. It gives the ratio of latencies and
the growth of the process's resident memory in MB. Flat means at most 1.25 times and 16 MB.

On two quiet cores a turn takes about a minute."""
DEADLINE = 1800.0
FILE = "vllm add_lora"
FOLDERS = 4
RELOADS = 5
FILE_IDS = 1_000_000
"""First id of adapters from files. The sampler's own ids are lower."""
FLAT_LATENCY, FLAT_MB = 1.25, 16.0
UNITS = {
    **dict.fromkeys(("swap p50", "swap p95", "first token p50", "first token p95", "with save p50"), "ms"),
    "latency of last quarter": "x",
    "memory of last quarter": "MB",
}


def options(parser: argparse.ArgumentParser) -> None:
    add_options(parser)
    parser.add_argument("--swaps", type=positive, default=200, help="swaps of each turn and kind (200)")


def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
    loop = loop_of(chosen, samples=8)
    spec = loop.as_spec() | {"swaps": 12 if chosen.quick else chosen.swaps}
    here = Path(__file__)
    prepared = processes.work(here, "prepare", spec, DEADLINE)
    found: dict[str, Figures] = {}

    def told(contender: str) -> Figures:
        """Figures of one of the two contenders of a process. They are returned once."""
        if contender not in found:
            raise RunError("the process that measures it failed")
        return found.pop(contender)

    def resident() -> Figures:
        found.update(processes.work(here, "resident", spec, DEADLINE))
        return told(OURS)

    def reload() -> Figures:
        environment = processes.plain_vllm(tuned=True)
        found.update(processes.work(here, "reload", spec | {"prepared": prepared}, DEADLINE, environment))
        return told("reload")

    # Each of two processes a turn measures two contenders.
    contenders: dict[str, Callable[[], Figures]] = {
        OURS: resident,
        "vllm add_lora": lambda: told("vllm add_lora"),
        "reload": reload,
        "restart": lambda: told("restart"),
    }
    taken = take_turns(contenders, chosen.repeats, budget)
    rows = rows_of("swap", taken, UNITS)
    mine = values_of(rows, "swap", OURS, "first token p50")
    for peer in (FILE, "reload", "restart"):
        if values := ratios(values_of(rows, "swap", peer, "first token p50"), mine):
            rows.append(Measurement("swap", f"{OURS} over {peer}", "first token p50", "x", values))
    results.add(rows, loop=vars(loop), swaps=spec["swaps"])
    _judge(results)


def _judge(results: BenchmarkResults) -> None:
    def median(contender: str, figure: str) -> float | None:
        values = values_of(results.rows, "swap", contender, figure)
        return spread(values).median if values else None

    def share(figure: str) -> float | None:
        ours, file = values_of(results.rows, "swap", OURS, "swap p50"), values_of(results.rows, "swap", FILE, figure)
        return spread(ratios(ours, file)).median if ours and file else None

    results.judge(
        Target("swap, ms, median", median(OURS, "swap p50"), 10.0, "at most"),
        Target(
            "swap, of the file path's time (written by the trainer, read by add_lora)",
            share("with save p50"),
            0.5,
            "at most",
        ),
        Target("swap, of add_lora's reading alone", share("swap p50"), 1.0, "at most"),
        Target(
            "latency of the last quarter, of the first",
            median(OURS, "latency of last quarter"),
            FLAT_LATENCY,
            "at most",
        ),
        Target(
            "memory of the last quarter beyond the first, MB",
            median(OURS, "memory of last quarter"),
            FLAT_MB,
            "at most",
        ),
    )


def resident(spec: Mapping[str, Any], folder: Path) -> dict[str, Figures]:
    """Worker: swaps in memory and from a file in alternation, in one engine."""
    live = engine.Live(Loop.of(spec), folder)
    sampler = live.sampler()
    adapters = engine.variants(live, FOLDERS)
    own, file = SwapTimes(), SwapTimes()
    for number, weights in enumerate(itertools.islice(itertools.cycle(adapters), int(spec["swaps"]) + 2)):
        own.add(in_memory(sampler, number, weights), count=number >= 2)  # the first two warm up
        file.add(from_file(sampler, number, weights, folder / f"adapter-{number}"), count=number >= 2)
    return {OURS: own.figures(), "vllm add_lora": file.figures()}


class SwapTimes:
    """Milliseconds of many swaps and the resident memory after each."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = {}
        self._memory: list[float] = []

    def add(self, taken: Mapping[str, float], *, count: bool) -> None:
        if count:
            for name, seconds in taken.items():
                self._taken.setdefault(name, []).append(1e3 * seconds)
            self._memory.append(resident_mb())

    def figures(self) -> dict[str, float]:
        first, last = quarters(self._taken["swap"])
        before, after = quarters(self._memory)
        found = {"latency of last quarter": last / first, "memory of last quarter": after - before}
        for name, values in self._taken.items():
            found[f"{name} p50"] = percentile(values, 0.5)
            if name != "with save":
                found[f"{name} p95"] = percentile(values, 0.95)
        return found


def in_memory(sampler: Sampler, number: int, weights: Weights) -> dict[str, float]:
    began = time.perf_counter()
    served = sampler.install(f"bench@{number}", weights)
    swapped = time.perf_counter()
    engine.first_token(sampler, served.name, served.adapter_id, f"/memory/{served.name}")
    ended = time.perf_counter()
    sampler.remove(served)
    return {"swap": swapped - began, "first token": ended - began}


def from_file(sampler: Sampler, number: int, weights: Weights, folder: Path) -> dict[str, float]:
    """Swap by vLLM's own way, which needs a new id, name and folder for every model."""
    from autophage.store.weights import ADAPTER

    began = time.perf_counter()
    folder.mkdir()
    weights.save(folder)
    saved = time.perf_counter()
    adapter = folder / ADAPTER
    engine.add_from_file(sampler, f"file-{number}", FILE_IDS + number, adapter)
    swapped = time.perf_counter()
    engine.first_token(sampler, f"file-{number}", FILE_IDS + number, str(adapter))
    ended = time.perf_counter()
    engine.remove_from_file(sampler, FILE_IDS + number)
    shutil.rmtree(folder)
    return {"swap": swapped - saved, "first token": ended - saved, "with save": swapped - began}


def reload(spec: Mapping[str, Any], folder: Path) -> dict[str, Figures]:
    """Worker: start vLLM on merged weights, then reload others."""
    import torch
    from vllm import LLM, SamplingParams

    prepared = spec["prepared"]
    llm = LLM(
        model=prepared["model"],
        dtype=prepared["dtype"],
        max_model_len=256,
        skip_tokenizer_init=True,
        enforce_eager=not torch.cuda.is_available(),
    )
    params = SamplingParams(max_tokens=1, detokenize=False)
    prompt: Any = {"prompt_token_ids": prepared["start"]}
    llm.generate([prompt], params, use_tqdm=False)
    started = time.time() - float(spec["launched"])
    with tempfile.TemporaryDirectory() as name:
        other = shutil.copytree(prepared["model"], Path(name) / "merged")
        swaps, tokens = [], []
        for number in range(RELOADS + 1):
            began = time.perf_counter()
            path = prepared["model"] if number % 2 else str(other)
            llm.collective_rpc("reload_weights", kwargs={"weights_path": path})
            llm.reset_prefix_cache()
            swapped = time.perf_counter()
            llm.generate([prompt], params, use_tqdm=False)
            swaps.append(1e3 * (swapped - began))
            tokens.append(1e3 * (time.perf_counter() - began))
    found = {"swap": swaps[1:], "first token": tokens[1:]}
    figures = {f"{name} p{share}": percentile(found[name], share / 100) for name in found for share in (50, 95)}
    return {"reload": figures, "restart": {"first token p50": 1e3 * started}}


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


BENCHMARK = Benchmark(
    "swap",
    DESCRIPTION,
    "autophage bench swap --swaps 200",
    minutes=10,
    measure=measure,
    options=options,
    workers={"prepare": engine.prepare, "resident": resident, "reload": reload},
)
main = BENCHMARK.main

if __name__ == "__main__":
    sys.exit(main())
