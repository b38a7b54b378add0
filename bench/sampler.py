"""Adapters mixed in one batch against merged weights and against vLLM's own LoRA, each engine in its own process, in turns.

    python bench/sampler.py --quick
    python bench/sampler.py --shape wide --repeats 9 --out bench/results/sampler-cpu-xeon.jsonl
    python bench/sampler.py --shape 1b          # a GPU: what adapters cost there, at 1, 4, 8 and 32

    merged          an engine without LoRA, as one that serves merged weights
    grouped-N       N adapters in turns over the requests, by `autophage.sampler.grouped_lora`
    stock-N         the same by vLLM's own CPU path, at its best: room for every adapter, and only the layers adapted wrapped
    default-N       vLLM as it comes: `max_loras = 1`, so that adapters are served one after the other, every layer wrapped

On a GPU vLLM's own path is what the engine uses, and `stock-N` are all there is. Weights are random: speed depends on
shapes alone. Every engine gets the same requests and settings, and they are those of the engine's sampler: on a CPU
eager, without prefix cache. They take turns, forth and back (A B C, C B A, ...), so that whatever else the machine does
falls on all; those that wait sleep. A ratio is taken within each turn; median and quartiles are over turns.

Results are rows of JSON on stdout, a table on stderr. Exit status 1 if grouped and stock tokens differ; a target that is
missed is a result.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# As a script's folder, this one is searched for imports, and bench/kernels.py would pass for a package of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

from autophage import environment  # noqa: E402

RANK = 32
TAIL = 15
"""Lines of a failed engine's log that its error shows."""
LEAST_OF_MERGED, LEAST_OVER_STOCK = 0.5, 2.0
"""The targets, for four adapters on two CPU cores."""
SAME_TOKENS = 0.95
"""Share of greedy documents that grouped and stock must have in common in float32: a tie may fall either way."""


@dataclass(frozen=True)
class Shape:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = True

    @property
    def head(self) -> int:
        return self.hidden // self.heads


SHAPES = {
    "quick": Shape(64, 192, 2, 2, 2, 256),
    "demo": Shape(192, 576, 4, 3, 3, 256),
    "wide": Shape(512, 1536, 4, 8, 8, 256),
    "1b": Shape(2048, 8192, 16, 32, 8, 128256),
    "8b": Shape(4096, 14336, 32, 32, 8, 128256, tied=False),
}


@dataclass(frozen=True)
class Engine:
    """How one engine is started. `slots` 0: without LoRA."""

    shape: str
    device: str
    dtype: str
    sequences: int
    tokens: int
    slots: int = 0
    grouped: bool = False
    only_adapted_layers: bool = True


@dataclass(frozen=True)
class Contender:
    name: str
    engine: str
    adapters: int


@dataclass(frozen=True)
class Turn:
    seconds: float
    documents: list[list[int]]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    environment.apply()
    if arguments.engine:
        return serve(Engine(**json.loads(arguments.engine)), Path(arguments.adapters))
    engines, contenders = plan(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-sampler-") as folder:
        rows, agreement = measure(arguments, engines, contenders, Path(folder))
    for row in rows:
        print(json.dumps(row))
    if arguments.out:
        with arguments.out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    print(_report(rows, agreement, judged=not arguments.quick), file=sys.stderr)
    exact = arguments.dtype == "float32"
    return 1 if exact and agreement is not None and agreement < SAME_TOKENS else 0


def plan(arguments: argparse.Namespace) -> tuple[dict[str, Engine], list[Contender]]:
    """The engines to start and who runs on which; merged comes first and every ratio can be taken."""
    most = max(arguments.counts)
    common = {name: getattr(arguments, name) for name in ("shape", "device", "dtype", "sequences", "tokens")}
    engines = {"merged": Engine(**common), "stock": Engine(**common, slots=most)}
    if arguments.device == "cpu":
        engines["grouped"] = Engine(**common, slots=most, grouped=True)
        engines["default"] = Engine(**common, slots=1, only_adapted_layers=False)
    found = [Contender("merged", "merged", 0)]
    for engine in ("grouped", "stock", "default"):
        counts = [count for count in arguments.counts if engine != "default" or count <= arguments.default_up_to]
        found += [Contender(f"{engine}-{count}", engine, count) for count in counts if engine in engines]
    if arguments.only:
        found = [one for one in found if one.name in arguments.only]
    return {name: engine for name, engine in engines.items() if name in {one.engine for one in found}}, found


def measure(
    arguments: argparse.Namespace, engines: dict[str, Engine], contenders: Sequence[Contender], folder: Path
) -> tuple[list[dict[str, Any]], float | None]:
    """Rows of every contender and ratio, and the share of greedy documents that grouped and stock agree on."""
    write_adapters(SHAPES[arguments.shape], max(arguments.counts), folder)
    running: dict[str, Process] = {}
    taken: dict[str, list[float]] = {one.name: [] for one in contenders}
    try:
        for name, engine in engines.items():
            print(f"starting {name}", file=sys.stderr, flush=True)
            running[name] = Process(name, engine, folder)
        for one in contenders:
            running[one.engine].turn(one.adapters, min(8, arguments.tokens), 1.0)
        for number in range(arguments.repeats):
            for one in contenders[:: 1 if number % 2 == 0 else -1]:
                turn = running[one.engine].turn(one.adapters, arguments.tokens, 1.0)
                taken[one.name].append(sum(map(len, turn.documents)) / turn.seconds)
            speeds = ", ".join(f"{name} {speeds[-1]:,.0f}" for name, speeds in taken.items())
            print(f"turn {number + 1}, tokens/s: {speeds}", file=sys.stderr, flush=True)
        agreement = None
        if {"grouped", "stock"} <= set(running):
            documents = [
                running[name].turn(max(arguments.counts), arguments.tokens, 0.0).documents
                for name in ("grouped", "stock")
            ]
            agreement = sum(a == b for a, b in zip(*documents, strict=True)) / arguments.sequences
    finally:
        for process in running.values():
            process.end()
    return _rows(arguments, contenders, taken, agreement), agreement


def _rows(
    arguments: argparse.Namespace,
    contenders: Sequence[Contender],
    taken: dict[str, list[float]],
    agreement: float | None,
) -> list[dict[str, Any]]:
    import datetime
    import os

    from autophage.provenance import machine_facts

    facts: dict[str, Any] = {
        "benchmark": "sampler",
        **{name: getattr(arguments, name) for name in ("shape", "device", "dtype", "sequences", "tokens", "repeats")},
        "rank": RANK,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_average": os.getloadavg(),
        "processor": _processor(arguments.device),
        "same_greedy_documents": agreement,
        "machine": machine_facts(),
    }
    rows = [
        {"contender": one.name, "adapters": one.adapters, "tokens_per_second": _spread(taken[one.name]), **facts}
        for one in contenders
    ]
    for one in contenders:
        against = ["merged"] if one.name != "merged" else []
        against += [f"{engine}-{one.adapters}" for engine in ("stock", "default") if one.engine == "grouped"]
        for other in against:
            if other in taken:
                each = [a / b for a, b in zip(taken[one.name], taken[other], strict=True)]
                rows.append({"contender": one.name, "against": other, "ratio": _spread(each), **facts})
    return rows


def _report(rows: Sequence[dict[str, Any]], agreement: float | None, judged: bool) -> str:
    lines = []
    for row in rows:
        name, values = (
            (row["contender"], row["tokens_per_second"])
            if "tokens_per_second" in row
            else (f"{row['contender']} / {row['against']}", row["ratio"])
        )
        lines.append("{:26} {median:>10,.4g}   {low:,.4g} to {high:,.4g}".format(name, **values))
    if agreement is not None:
        lines.append(f"greedy documents that grouped and stock have in common: {agreement:.0%}")
    medians = {(row["contender"], row["against"]): row["ratio"]["median"] for row in rows if "against" in row}
    for other, bound in (("merged", LEAST_OF_MERGED), ("stock-4", LEAST_OVER_STOCK)):
        if judged and (found := medians.get(("grouped-4", other))) is not None:
            lines.append(
                f"{'kept' if found >= bound else 'MISSED'}: grouped-4 at least {bound:g} of {other}: {found:.2f}"
            )
    for (name, other), found in medians.items():
        if name.startswith("stock") and other == "merged" and rows[0]["device"] != "cpu":
            lines.append(f"the cost of adapters, {name}: {1 - found:.1%} of merged throughput")
    return "\n".join(lines)


class Process:
    """An engine that waits in a process of its own, asleep, for its next turn."""

    def __init__(self, name: str, engine: Engine, folder: Path) -> None:
        self._name, self._log = name, folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    str(Path(__file__)),
                    "--engine",
                    json.dumps(asdict(engine)),
                    "--adapters",
                    str(folder),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._answer()

    def turn(self, adapters: int, tokens: int, temperature: float) -> Turn:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([adapters, tokens, temperature]) + "\n")
        self._process.stdin.flush()
        return Turn(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            tail = "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-TAIL:])
            raise SystemExit(f"the engine {self._name} ended\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def serve(engine: Engine, folder: Path) -> int:
    """The process of an engine: one line in, one turn, one line out."""
    import os

    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # vLLM's log lines go to stderr
    llm = start(engine, folder)
    print(json.dumps({}), file=out, flush=True)
    for line in sys.stdin:
        turn = sample(llm, engine, folder, *json.loads(line))
        print(json.dumps(asdict(turn)), file=out, flush=True)
    return 0


def start(engine: Engine, folder: Path) -> Any:
    """vLLM with the settings of the engine's sampler; only what is compared differs."""
    from vllm import EngineArgs, LLMEngine

    if engine.grouped:
        from autophage.sampler import cpu_lora

        if not cpu_lora.install():
            raise SystemExit("this vLLM's LoRA is not the one that is replaced")
    shape = SHAPES[engine.shape]
    longest = engine.tokens + 2
    kv_bytes = 2 * shape.layers * shape.kv_heads * shape.head * (4 if engine.dtype == "float32" else 2)
    arguments: dict[str, Any] = {
        "model": str(folder),
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
        arguments |= {"enable_lora": True, "max_loras": engine.slots, "max_lora_rank": RANK}
        arguments |= {"max_cpu_loras": max(engine.slots, len(list(folder.glob("adapter-*"))))}
    if engine.slots and engine.only_adapted_layers:
        arguments["lora_target_modules"] = [*_layers(shape), "qkv_proj", "gate_up_proj"]
    return LLMEngine.from_engine_args(EngineArgs(**arguments))


def sample(llm: Any, engine: Engine, folder: Path, adapters: int, tokens: int, temperature: float) -> Turn:
    """One batch: every request submitted before the first step, adapters in turns."""
    import time
    import uuid

    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import RequestOutputKind

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
        lora = LoRARequest(f"adapter-{number}", number + 1, str(folder / f"adapter-{number}")) if adapters else None
        llm.add_request(f"{batch}-{index}", {"prompt_token_ids": [1, 3 + index % 200]}, params, lora_request=lora)
    documents: dict[int, list[int]] = {}
    while llm.has_unfinished_requests():
        for output in llm.step():
            if output.finished:
                documents[int(output.request_id.rpartition("-")[2])] = list(output.outputs[0].token_ids)
    return Turn(time.perf_counter() - began, [documents[index] for index in range(engine.sequences)])


def write_adapters(shape: Shape, count: int, folder: Path) -> None:
    """The model's configuration, and random adapters of all its linear layers as PEFT writes them."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=shape.tied,
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    for number in range(count):
        torch.manual_seed(number)
        tensors = {}
        for name, (block, inner, width) in _layers(shape).items():
            for layer in range(shape.layers):
                at = f"base_model.model.model.layers.{layer}.{block}.{name}"
                tensors[f"{at}.lora_A.weight"] = torch.randn(RANK, inner) / inner**0.5
                tensors[f"{at}.lora_B.weight"] = torch.randn(width, RANK) * 0.02
        own = folder / f"adapter-{number}"
        LoraConfig(r=RANK, lora_alpha=RANK, target_modules=[*_layers(shape)]).save_pretrained(own)
        save_file(tensors, own / "adapter_model.safetensors")


def _layers(shape: Shape) -> dict[str, tuple[str, int, int]]:
    """Name to block, inputs and outputs."""
    kv = shape.kv_heads * shape.head
    return {
        "q_proj": ("self_attn", shape.hidden, shape.hidden),
        "k_proj": ("self_attn", shape.hidden, kv),
        "v_proj": ("self_attn", shape.hidden, kv),
        "o_proj": ("self_attn", shape.hidden, shape.hidden),
        "gate_proj": ("mlp", shape.hidden, shape.intermediate),
        "up_proj": ("mlp", shape.hidden, shape.intermediate),
        "down_proj": ("mlp", shape.intermediate, shape.hidden),
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    import numpy as np

    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return {
        "median": round(float(median), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "values": [round(value, 4) for value in values],
    }


def _processor(device: str) -> str:
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, help="of the model (default: demo; 1b and 8b need a GPU)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--sequences", type=int, help="at once (default: 256; quick: 32)")
    parser.add_argument("--tokens", type=int, help="of each (default: 64 on a CPU, 256 on a GPU; quick: 8)")
    parser.add_argument("--repeats", type=int, help="turns of everybody (default: 5; quick: 2)")
    parser.add_argument("--quick", action="store_true", help="a tiny model in half a minute: does it run, not how fast")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="contenders to measure, for example: merged grouped-4"
    )
    parser.add_argument("--default-up-to", type=int, default=4, help="adapters for vLLM as it comes, which is slow")
    parser.add_argument("--out", type=Path, help="also append the rows to this file")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--adapters", help=argparse.SUPPRESS)
    found = parser.parse_args(argv)
    if found.engine:
        return found
    found.shape = found.shape or ("quick" if found.quick else "demo")
    found.device = "cuda" if found.shape in ("1b", "8b") else "cpu"
    gpu = found.device == "cuda"
    found.counts = [1, 4, 8, 32] if gpu else [1, 4, 8]
    defaults = (32, 8, 2) if found.quick else (256, 256 if gpu else 64, 5)
    for name, value in zip(("sequences", "tokens", "repeats"), defaults, strict=True):
        setattr(found, name, getattr(found, name) or value)
    found.dtype = found.dtype or ("bfloat16" if gpu else "float32")
    names = {one.name for one in plan(argparse.Namespace(**{**vars(found), "only": None}))[1]}
    if found.only and not set(found.only) <= names:
        parser.error(f"--only {' '.join(found.only)}: contenders are {', '.join(sorted(names))}")
    if gpu:
        import torch

        if not torch.cuda.is_available():
            parser.error(f"--shape {found.shape} needs a GPU, and torch.cuda.is_available() is false here")
    return found


if __name__ == "__main__":
    sys.exit(main())
