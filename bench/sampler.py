"""Cost of adapters to the sampler: `autophage bench sampler`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from autophage.errors import RunError, UserError
from autophage.host import environment
from harness.command import Benchmark, BenchmarkResults, counts, positive
from harness.processes import Resident, answer_all
from harness.rows import Measurement, rows_of, values_of
from harness.shapes import SHAPES as LLAMAS
from harness.shapes import LlamaShape
from harness.statistics import ratios, spread
from harness.subject import llama_config
from harness.targets import Target
from harness.turns import Budget, Figures, take_turns

DESCRIPTION = """Adapters mixed in one batch, against merged weights and against vLLM's own LoRA.

merged          an engine without LoRA, which serves merged weights
grouped-N       N adapters in turns over the requests, by `autophage.sampler.grouped_lora`
stock-N         the same by vLLM's own CPU path at its best: room for every adapter, and only adapted layers wrapped
default-N       vLLM's defaults: `max_loras = 1`, so that adapters are served one after the other, every layer wrapped

On a GPU the engine uses vLLM's own path, so that only `stock-N` run. Weights are random, as speed depends on shapes
alone. Every engine gets the same requests and the settings of the engine's sampler: eager and without prefix cache on a
CPU. Each engine is a process that sleeps between its turns. No statistics are recorded.

`same greedy documents` is the share that grouped and stock have in common with the most adapters. In float32 the exit
code is 1 if it is below 0.95. Ties may fall either way.

On two quiet cores a turn takes half a minute, and the engines start in a minute and a half."""
RANK = 32
DEADLINE = 900.0
"""Seconds for an engine to start, or for one turn."""
FEW = 8
"""Tokens of the turn that warms up."""
LEAST_OF_MERGED, LEAST_OVER_STOCK, JUDGED = 0.5, 2.0, 4
"""The targets, and the number of adapters that they are for."""
SAME_TOKENS = 0.95
LARGE = ("1b", "8b")
SHAPES = {
    "quick": LlamaShape(64, 2, 2, kv_heads=2, intermediate=192, vocabulary=256),
    "demo": LlamaShape(192, 4, 3, kv_heads=3, intermediate=576, vocabulary=256),
    "wide": LlamaShape(512, 4, 8, kv_heads=8, intermediate=1536, vocabulary=256),
    **{name: LLAMAS[name] for name in LARGE},
}
UNITS = {"sampling rate": "tokens/s"}


@dataclass(frozen=True)
class Engine:
    """Settings of one engine. 0 `slots` mean no LoRA. `folder` has the model's configuration and the adapters."""

    shape: str
    device: str
    dtype: str
    sequences: int
    tokens: int
    folder: str = ""
    slots: int = 0
    grouped: bool = False
    only_adapted_layers: bool = True


@dataclass(frozen=True)
class Entrant:
    name: str
    engine: str
    adapters: int


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shape", choices=[name for name in SHAPES if name != "quick"], default="demo")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--sequences", type=positive, default=256, help="sequences at once (256)")
    parser.add_argument("--tokens", type=positive, help="tokens of each sequence (64 on a CPU, 256 on a GPU)")
    parser.add_argument("--adapters", type=counts, help="list of N (1,4,8; on a GPU 1,4,8,32)")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), metavar="NAMES", help="contenders, such as merged,grouped-4"
    )
    parser.add_argument(
        "--default-up-to", type=int, default=4, metavar="N", help="most adapters of the slow default-N (4)"
    )


def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
    engine, adapters = _settings(chosen)
    engines, contenders = plan(engine, adapters, chosen.only, chosen.default_up_to)
    point = f"{engine.sequences} sequences"
    with tempfile.TemporaryDirectory(prefix="autophage-bench-") as folder, ExitStack() as opened:
        write_adapters(SHAPES[engine.shape], max(adapters), Path(folder))
        fleet = Fleet(engines, Path(folder), opened)
        taken = take_turns({one.name: partial(fleet.turn, one) for one in contenders}, chosen.repeats, budget)
        agreement = fleet.agreement(max(adapters))
    rows = rows_of(point, taken, UNITS)
    rows += _compared(rows, point, contenders)
    if agreement is not None:
        rows.append(
            Measurement(point, f"grouped and stock, {max(adapters)}", "same greedy documents", "share", [agreement])
        )
        if engine.dtype == "float32" and agreement < SAME_TOKENS:
            results.broken.append(f"grouped and stock wrote the same in {agreement:.0%} of the greedy documents")
    results.add(rows, engine=asdict(engine), counts=adapters, rank=RANK)
    if engine.device == "cpu":
        for other, bound in (("merged", LEAST_OF_MERGED), (f"stock-{JUDGED}", LEAST_OVER_STOCK)):
            values = values_of(rows, point, f"grouped-{JUDGED} over {other}", "sampling rate")
            what = f"{JUDGED} adapters mixed, over {other}"
            results.judge(Target(what, spread(values).median if values else None, bound, "at least"))


def _settings(chosen: argparse.Namespace) -> tuple[Engine, list[int]]:
    """Settings shared by all engines, and the numbers of adapters."""
    import torch

    if chosen.quick:
        return Engine("quick", "cpu", "float32", sequences=32, tokens=FEW), chosen.adapters or [1, 4, 8]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and chosen.shape in LARGE:
        raise UserError(f"--shape {chosen.shape} needs a GPU, and torch.cuda.is_available() is false here")
    gpu = device == "cuda"
    dtype, tokens = chosen.dtype or ("bfloat16" if gpu else "float32"), chosen.tokens or (256 if gpu else 64)
    adapters = chosen.adapters or ([1, 4, 8, 32] if gpu else [1, 4, 8])
    return Engine(chosen.shape, device, dtype, chosen.sequences, tokens), adapters


def plan(
    common: Engine, adapters: Sequence[int], only: Sequence[str] | None, default_up_to: int
) -> tuple[dict[str, dict[str, Any]], list[Entrant]]:
    """Settings of each engine that is needed, and the entrants on it. `merged` comes first."""
    most, base = max(adapters), asdict(common)
    engines: dict[str, dict[str, Any]] = {"merged": base, "stock": base | {"slots": most}}
    if common.device == "cpu":
        engines["grouped"] = base | {"slots": most, "grouped": True}
        engines["default"] = base | {"slots": 1, "only_adapted_layers": False}
    found = [Entrant("merged", "merged", 0)]
    for engine in ("grouped", "stock", "default"):
        up_to = default_up_to if engine == "default" else most
        found += [Entrant(f"{engine}-{n}", engine, n) for n in adapters if n <= up_to and engine in engines]
    if only is not None:
        if unknown := sorted(set(only) - {one.name for one in found}):
            raise UserError(f"--only {','.join(unknown)}: contenders are {', '.join(one.name for one in found)}")
        found = [one for one in found if one.name in only]
    return {name: engines[name] for name in dict.fromkeys(one.engine for one in found)}, found


def _compared(rows: Sequence[Measurement], point: str, contenders: Sequence[Entrant]) -> list[Measurement]:
    """Ratios for each turn: every entrant over merged weights, and grouped over vLLM's own LoRA."""
    made = []
    for one in contenders:
        own = values_of(rows, point, one.name, "sampling rate")
        others = [f"{engine}-{one.adapters}" for engine in ("stock", "default") if one.engine == "grouped"]
        for other in ["merged", *others] if one.adapters else []:
            if values := ratios(own, values_of(rows, point, other, "sampling rate")):
                made.append(Measurement(point, f"{one.name} over {other}", "sampling rate", "x", values))
    return made


class Fleet:
    """Engines, each started at its first use. `opened` ends them."""

    def __init__(self, engines: Mapping[str, Mapping[str, Any]], folder: Path, opened: ExitStack) -> None:
        self._engines, self._folder, self._opened = engines, folder, opened
        self._running: dict[str, Resident] = {}
        self._warm: set[Entrant] = set()

    def turn(self, one: Entrant) -> Figures:
        """Tokens a second of one batch."""
        if one.engine not in self._running:
            spec = {**self._engines[one.engine], "folder": str(self._folder)}
            resident = Resident(Path(__file__), "serve", spec, self._folder / one.engine, DEADLINE)
            self._opened.callback(resident.end)
            self._running[one.engine] = resident
        tokens = int(self._engines[one.engine]["tokens"])
        if one not in self._warm:
            self._ask(one.engine, one.adapters, min(FEW, tokens), 1.0)
            self._warm.add(one)
        turn = self._ask(one.engine, one.adapters, tokens, 1.0)
        return {"sampling rate": sum(map(len, turn["documents"])) / turn["seconds"]}

    def agreement(self, adapters: int) -> float | None:
        """Share of greedy documents that grouped and stock have in common. It is None if one of them does not run."""
        if not {"grouped", "stock"} <= set(self._running):
            return None
        tokens = int(self._engines["stock"]["tokens"])
        grouped, stock = (self._ask(name, adapters, tokens, 0.0)["documents"] for name in ("grouped", "stock"))
        return sum(1 for own, other in zip(grouped, stock, strict=True) if own == other) / len(grouped)

    def _ask(self, engine: str, adapters: int, tokens: int, temperature: float) -> dict[str, Any]:
        answer: dict[str, Any] = self._running[engine].ask([adapters, tokens, temperature])
        return answer


def serve(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A worker: an engine that samples a batch whenever it is asked."""
    environment.apply()
    engine = Engine(**spec)
    answer_all(lambda: partial(_sample, start(engine), engine))
    return {}


def start(engine: Engine) -> Any:
    """vLLM with the settings of the engine's sampler; only what is compared differs."""
    from vllm import EngineArgs, LLMEngine

    if engine.grouped:
        from autophage.sampler import cpu_lora

        if not cpu_lora.install():
            raise RunError("grouped LoRA does not fit this version of vLLM")
    shape = SHAPES[engine.shape]
    longest = engine.tokens + 2
    kv_bytes = shape.kv_bytes_per_token(4 if engine.dtype == "float32" else 2)
    arguments: dict[str, Any] = {
        "model": engine.folder,
        "load_format": "dummy",
        "dtype": engine.dtype,
        "seed": 0,
        "max_model_len": longest,
        "max_num_seqs": engine.sequences,
        "max_num_batched_tokens": max(8192, longest),
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "kv_cache_memory_bytes": max(64 << 20, engine.sequences * (-(-longest // 128) + 1) * 128 * kv_bytes),
    }
    if engine.device == "cpu":
        arguments |= {"enforce_eager": True, "enable_prefix_caching": False, "enable_chunked_prefill": False}
    if engine.slots:
        held = max(engine.slots, len(list(Path(engine.folder).glob("adapter-*"))))
        arguments |= {"enable_lora": True, "max_loras": engine.slots, "max_lora_rank": RANK, "max_cpu_loras": held}
    if engine.slots and engine.only_adapted_layers:
        arguments["lora_target_modules"] = [*shape.linears, "qkv_proj", "gate_up_proj"]
    return LLMEngine.from_engine_args(EngineArgs(**arguments))


def _sample(llm: Any, engine: Engine, asked: Sequence[Any]) -> dict[str, Any]:
    """Sample one batch. Every request is submitted before the first step. Adapters take turns over the requests."""
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import RequestOutputKind

    adapters, tokens, temperature = asked
    began, batch = time.perf_counter(), uuid.uuid4().hex
    for index in range(engine.sequences):
        params = SamplingParams(
            max_tokens=tokens,
            temperature=temperature,
            seed=index if temperature else None,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        number = index % adapters if adapters else 0
        name = f"adapter-{number}"
        lora = LoRARequest(name, number + 1, str(Path(engine.folder) / name)) if adapters else None
        llm.add_request(f"{batch}-{index}", {"prompt_token_ids": [1, 3 + index % 200]}, params, lora_request=lora)
    documents: dict[int, list[int]] = {}
    while llm.has_unfinished_requests():
        for output in llm.step():
            if output.finished:
                documents[int(output.request_id.rpartition("-")[2])] = list(output.outputs[0].token_ids)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "documents": [documents[index] for index in range(engine.sequences)]}


def write_adapters(shape: LlamaShape, count: int, folder: Path) -> None:
    """Write the model's configuration, and random adapters of all its linear layers as PEFT writes them."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    llama_config(shape).save_pretrained(folder)
    for number in range(count):
        torch.manual_seed(number)
        tensors = {}
        for name, (block, inputs, outputs) in shape.linears.items():
            for layer in range(shape.layers):
                at = f"base_model.model.model.layers.{layer}.{block}.{name}"
                tensors[f"{at}.lora_A.weight"] = torch.randn(RANK, inputs) / inputs**0.5
                tensors[f"{at}.lora_B.weight"] = torch.randn(outputs, RANK) * 0.02
        own = folder / f"adapter-{number}"
        LoraConfig(r=RANK, lora_alpha=RANK, target_modules=[*shape.linears]).save_pretrained(str(own))
        save_file(tensors, own / "adapter_model.safetensors")


BENCHMARK = Benchmark(
    "sampler",
    DESCRIPTION,
    "autophage bench sampler --shape wide --only merged,grouped-4,stock-4",
    minutes=10,
    measure=measure,
    options=options,
    workers={"serve": serve},
)
main = BENCHMARK.main

if __name__ == "__main__":
    sys.exit(main())
