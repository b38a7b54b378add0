"""Measurements that need a GPU, in one command: `autophage bench gpu`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.errors import AutophageError, RunError, UserError
from harness import BENCH, engine, light, processes
from harness.command import Benchmark, BenchmarkResults
from harness.facts import device_name
from harness.rows import OURS, Measurement, aligned
from harness.subject import BLOCK, SHAPES, Loop
from harness.turns import Budget

DESCRIPTION = """On one GPU, with random weights in the shapes of Llama 3.2 1B and Llama 3.1 8B, most important first:

tax         rate of sampling with 1, 4, 8, 32 adapters in a batch, as a share of vLLM's rate without LoRA
swap        start of vLLM, and swaps of an adapter of all linear layers: in memory, from a file, reload
concurrent  sampler and trainer at once on the GPU: the share of its own rate that each keeps
trainer     our trainer beside TRL's defaults and TRL set with care, MFU
loop        a whole generation, beside the tuned naive loop, and as a fraction of the lower bound
            (bench/harness/light.py has the formulas; peaks are NVIDIA's, and an unlisted GPU has no fraction)

Steps run one after the other, each with a deadline. Steps that do not fit into --budget are named and left out. All
steps take at most 25 minutes on an H100 or H200 with 80 GB or more. The weights of 8B are made once and take 20 GB of
disk. --dry-run prints the plan and needs no GPU."""
ADAPTERS = (1, 4, 8, 32)
RANK = 16
TURNS = 3
WINDOW = 20.0
"""Seconds for which sampler and trainer work alone and together."""
UNITS = {"sampling rate": "tokens/s", "training rate": "tokens/s", "start": "s"}


@dataclass(frozen=True)
class Step:
    """One step. `minutes` is its deadline. It does not start if less budget is left."""

    name: str
    shape: str
    minutes: float
    samples: int
    tokens: int
    batch_size: int = 32


def plan(quick: bool) -> list[Step]:
    """The steps in the order of importance. A quick plan is small enough for a CPU."""
    if quick:
        return [Step(name, "tiny", 10, 16, 32, 8) for name in STEPS]
    return [
        Step("tax", "1b", 3.5, 512, 128),
        Step("swap", "8b", 5.5, 8, 64, 8),
        Step("loop", "1b", 4, 2048, 256),
        Step("concurrent", "1b", 3.5, 512, 256),
        Step("trainer", "1b", 2.5, 512, 256),
        Step("tax", "8b", 3.5, 256, 128),
        Step("trainer", "8b", 2.5, 64, 256, 8),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print the plan; nothing runs")
    parser.add_argument("--only", default="", metavar="STEPS", help=f"a list of {', '.join(STEPS)}")
    parser.set_defaults(repeats=TURNS)


def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
    wanted = [name for name in chosen.only.split(",") if name]
    if unknown := sorted(set(wanted) - set(STEPS)):
        raise UserError(f"--only knows {', '.join(STEPS)}; got {', '.join(unknown)}")
    steps = [step for step in plan(chosen.quick) if not wanted or step.name in wanted]
    if chosen.dry_run:
        results.remarks += _shown(steps, chosen.budget)
        return
    import torch

    if not (torch.cuda.is_available() or chosen.quick):
        raise UserError("no GPU here (torch.cuda.is_available() is false); --dry-run prints the plan")
    for step in steps:
        if budget.left < 60 * step.minutes:
            results.remarks.append(f"Left out, as the budget was spent: {step.name} {step.shape}.")
            continue
        began = time.monotonic()
        print(f"{step.name} {step.shape}: at most {step.minutes:g} minutes", file=sys.stderr, flush=True)
        try:
            results.add(STEPS[step.name](step, chosen.repeats), step=vars(step))
        except AutophageError as error:
            results.add([Measurement(_point(step), OURS, "", "", note=f"failed: {error}")])
        print(f"{step.name} {step.shape}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _shown(steps: list[Step], budget: float) -> list[str]:
    """The plan as a table, with lower bounds if the GPU is known."""
    cells: list[tuple[str, ...]] = [("step", "shape", "minutes", "samples", "tokens", "batch")]
    for step in steps:
        numbers = (step.samples, step.tokens, step.batch_size)
        cells.append((step.name, step.shape, f"{step.minutes:g}", *map(str, numbers)))
    total = sum(step.minutes for step in steps)
    gpu = light.named(device_name()) or light.GPUS["H100"]
    lines = [f"At most {total:g} minutes; --budget is {budget:g}.", *aligned(cells, text=2)]
    for step in steps:
        if step.name == "loop" and SHAPES[step.shape].parameters:
            bound = light.generation(work_of(step, gpu_width=2), gpu)
            lines.append(
                f"Light of a generation, {step.shape}, {step.samples} samples: {bound:.2f} s (H100 unless known)"
            )
    return ["\n".join(lines)]


def work_of(step: Step, gpu_width: int) -> light.GenerationWork:
    """Least bytes and FLOPs of the step's generation. `gpu_width` is bytes a weight."""
    shape = SHAPES[step.shape]
    return light.GenerationWork(
        parameters=shape.parameters,
        weight_bytes=gpu_width * shape.parameters,
        kv_bytes_per_token=shape.kv_bytes_per_token(gpu_width),
        adapter_bytes=gpu_width * shape.adapter_parameters(RANK),
        samples=step.samples,
        prompt=BLOCK,
        tokens=step.tokens,
        trained=step.tokens + 1,
        concurrency=Loop().concurrency,
    )


def _point(step: Step) -> str:
    return f"{step.name} {step.shape}"


def _loop(step: Step) -> Loop:
    return Loop(step.shape, step.samples, step.tokens, batch_size=step.batch_size, rank=RANK)


def _spec(step: Step) -> dict[str, Any]:
    return _loop(step).as_spec() | {"adapters": [1, 2] if step.shape == "tiny" else list(ADAPTERS)}


def tax(step: Step, repeats: int) -> list[Measurement]:
    """Rates with K adapters in one engine, then without LoRA in another. Each engine fills the GPU, so they take turns."""
    spec = _spec(step) | {"repeats": repeats}
    deadline = 60 * step.minutes
    mixed = processes.work(Path(__file__), "mixed", spec, deadline)
    asked = spec | {"prepared": mixed["prepared"]}
    bare = processes.work(Path(__file__), "bare", asked, deadline, processes.plain_vllm(tuned=True))
    rows = [Measurement(_point(step), "vllm without LoRA", "sampling rate", "tokens/s", bare["rates"])]
    rows.append(Measurement(_point(step), OURS, "start", "s", [mixed["start"]]))
    for count, rates in mixed["rates"].items():
        rows.append(Measurement(_point(step), f"{OURS}, {count} adapters", "sampling rate", "tokens/s", rates))
        share = [rate / statistics.median(bare["rates"]) for rate in rates]
        rows.append(Measurement(_point(step), f"{OURS}, {count} adapters", "of no LoRA", "share", share))
    return rows


def mixed(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Worker: the same requests divided among 1, 4, 8 and 32 adapters."""
    live = engine.Live(Loop.of(spec), folder)
    counts = list(spec["adapters"])
    sampler = live.sampler(mixed=max(counts), adapters=max(counts))
    started = time.time() - float(spec["launched"])
    [arm] = live.arms
    requests, decoding = live.bench.requests(arm, 0), live.bench.decoding(arm)
    served = [sampler.install(f"arm-{n}@0", one) for n, one in enumerate(engine.variants(live, max(counts)))]
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for turn in range(-1, int(spec["repeats"])):
        for count in counts:
            jobs = [engine.job(one, requests[n::count], decoding) for n, one in enumerate(served[:count])]
            began = time.perf_counter()
            engine.sample_together(sampler, jobs)
            if turn >= 0:  # the first turn warms up
                rates[count].append(len(requests) * live.loop.tokens / (time.perf_counter() - began))
    prompts = [request.prompt_ids for request in requests]
    dtype = live.bench.engine_settings(live.arms).dtype
    return {
        "rates": rates,
        "start": started,
        "prepared": {"model": live.model_path, "prompts": prompts, "dtype": dtype},
    }


def bare(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Worker: vLLM with its defaults and without adapters."""
    import torch
    from vllm import LLM, SamplingParams

    loop, prepared = Loop.of(spec), spec["prepared"]
    prompts: Any = [{"prompt_token_ids": ids} for ids in prepared["prompts"]]
    llm = LLM(
        model=prepared["model"],
        dtype=prepared["dtype"],
        max_model_len=max(len(ids) for ids in prepared["prompts"]) + loop.tokens,
        max_num_seqs=loop.concurrency,
        skip_tokenizer_init=True,
        enforce_eager=not torch.cuda.is_available(),
    )
    params = SamplingParams(temperature=1.0, max_tokens=loop.tokens, ignore_eos=True, detokenize=False)
    rates = []
    for _ in range(int(spec["repeats"]) + 1):
        began = time.perf_counter()
        llm.generate(prompts, params, use_tqdm=False)
        rates.append(len(prompts) * loop.tokens / (time.perf_counter() - began))
    return {"rates": rates[1:]}


def concurrent(step: Step, repeats: int) -> list[Measurement]:
    """Rates of sampler and trainer alone and together, each in its own process."""
    rates: dict[str, dict[str, float]] = {}
    for who in (("sampler",), ("trainer",), ("sampler", "trainer")):
        rates["+".join(who)] = _at_once(who, step)
    rows = []
    for side, unit in (("sampler", "sampling rate"), ("trainer", "training rate")):
        alone, both = rates[side][side], rates["sampler+trainer"][side]
        rows.append(Measurement(_point(step), f"{side} alone", unit, "tokens/s", [alone]))
        rows.append(Measurement(_point(step), f"{side} beside the other", unit, "tokens/s", [both]))
        rows.append(Measurement(_point(step), f"{side} beside the other", "of alone", "share", [both / alone]))
    return rows


def _at_once(who: tuple[str, ...], step: Step) -> dict[str, float]:
    """The rates of sides that begin to work when all are ready."""
    rates: dict[str, float] = {}
    failures: list[Exception] = []
    with tempfile.TemporaryDirectory(prefix="autophage-bench-") as meeting:
        spec = _spec(step) | {
            "meeting": meeting,
            "parties": len(who),
            "window": WINDOW if step.shape != "tiny" else 3.0,
        }

        def ask(side: str) -> None:
            try:
                rates[side] = processes.work(Path(__file__), side, spec, 60 * step.minutes)["rate"]
            except AutophageError as error:
                failures.append(error)

        threads = [threading.Thread(target=ask, args=(side,)) for side in who]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise RunError(str(failures[0]))
    return rates


def _during(spec: Mapping[str, Any], name: str, piece: Callable[[], int]) -> dict[str, float]:
    """Tokens a second of `piece`, repeated for a window. The window begins when every party is ready."""
    piece()  # warms up
    meeting = Path(spec["meeting"])
    (meeting / name).touch()
    while len(list(meeting.iterdir())) < int(spec["parties"]):
        time.sleep(0.05)
    began, tokens = time.perf_counter(), 0
    while time.perf_counter() - began < float(spec["window"]):
        tokens += piece()
    return {"rate": tokens / (time.perf_counter() - began)}


def sampler(spec: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """A worker: samples for the window."""
    live = engine.Live(Loop.of(spec), folder)
    served = (own := live.sampler()).install("bench@0", live.bench.base_weights(live.arms[0]))
    [arm] = live.arms
    job = engine.job(served, live.bench.requests(arm, 0), live.bench.decoding(arm))

    def piece() -> int:
        [answers] = engine.sample_together(own, [job])
        return sum(len(answer.token_ids) for answer in answers)

    return _during(spec, "sampler", piece)


def trainer(spec: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """A worker: trains for the window."""
    from autophage.data.mix import TrainingRow
    from autophage.trainer.fit import FitRequest

    live = engine.Live(Loop.of(spec), folder)
    [arm] = live.arms
    length = BLOCK + live.loop.tokens
    rows = [
        TrainingRow([1, *(4 + (7 * n + i) % 200 for i in range(length - 1))], 1)
        for n in range(live.loop.batch_size * 2)
    ]

    def piece() -> int:
        live.bench.resident.fit(FitRequest(live.bench.base_weights(arm), rows, arm.recipe, 0))
        return len(rows) * length

    return _during(spec, "trainer", piece)


def other(name: str, *extra: str) -> Callable[[Step, int], list[Measurement]]:
    """Step that runs another benchmark of this folder in its own process."""

    def run(step: Step, repeats: int) -> list[Measurement]:
        with tempfile.TemporaryDirectory(prefix="autophage-bench-") as folder:
            out = Path(folder) / "rows.jsonl"
            command = [
                sys.executable, str(BENCH / f"{name}.py"), "--shape", step.shape, "--tokens", str(step.tokens),
                "--batch-size", str(step.batch_size), "--rank", str(RANK), "--repeats", "1", "--out", str(out), *extra,
            ]  # fmt: skip
            if name != "swap":
                command += ["--samples", str(step.samples)]
            processes.run(command, processes.quiet(), 60 * step.minutes, Path(folder) / "log.txt")
            records = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        found = [record for record in records if "figure" in record]
        return [
            Measurement(
                f"{_point(step)}, {one['point']}",
                one["contender"],
                one["figure"],
                one["unit"],
                one["values"],
                one["note"],
            )
            for one in found
        ]

    return run


def loop(step: Step, repeats: int) -> list[Measurement]:
    """A generation of ours and of the tuned naive loop, with the lower bound."""
    rows = other("loop", "--peers", "naive tuned", "--generations", "2")(step, repeats)
    gpu = light.named(device_name())
    if gpu:
        work = work_of(step, gpu_width=2)
        bounds = {
            "generation": light.generation(work, gpu),
            "sample": light.sampling(work, gpu),
            "train": light.training(work, gpu),
        }
        for row in [row for row in rows if row.contender == OURS and row.figure in bounds]:
            share = [bounds[row.figure] / value for value in row.values]
            rows.append(Measurement(row.point, OURS, f"{row.figure}, fraction of light", "share", share))
    return rows


STEPS: dict[str, Callable[[Step, int], list[Measurement]]] = {
    "tax": tax,
    "swap": other("swap", "--swaps", "50"),
    "loop": loop,
    "concurrent": concurrent,
    "trainer": other("trainer", "--lengths", "mixed"),
}

BENCHMARK = Benchmark(
    "gpu",
    DESCRIPTION,
    "autophage bench gpu --dry-run",
    minutes=25,
    measure=measure,
    options=options,
    workers={"mixed": mixed, "bare": bare, "sampler": sampler, "trainer": trainer},
)
main = BENCHMARK.main

if __name__ == "__main__":
    sys.exit(main())
