"""What others reach on the same documents: transformers' `generate`, stock vLLM and TRL's SFTTrainer.

Each turn is a fresh process of a script of bench/peers. Its start is not counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import BENCH, processes
from harness.turns import Figures
from light_bench.asked import Asked

DEADLINE = 1800.0
SAMPLING, TRAINING = ("generate", "stock vllm"), ("trl default", "trl clean")
CHOICES = (*SAMPLING, *TRAINING)


def sampling(name: str, asked: Asked, facts: Mapping[str, Any], folder: Path) -> Figures:
    """Seconds in which a peer samples the batch."""
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps({"prompts": facts["prompts"], "start": []}), "utf-8")
    common = [
        "--model",
        facts["model"],
        "--prompts",
        str(prompts),
        "--tokens",
        str(asked.tokens),
        "--dtype",
        facts["dtype"],
    ]
    if name == "generate":
        more = ["--batches", str(asked.rows), "--documents", str(asked.rows)]
        rates = _script("generate.py", [*common, *more], processes.quiet(), folder)
        return {"whole": asked.rows * asked.tokens / rates[str(asked.rows)]}
    more = ["--out", str(folder / "samples.jsonl"), "--concurrency", str(asked.rows)]
    return {"whole": _script("naive_sample.py", [*common, *more], processes.plain_vllm(tuned=True), folder)["sample"]}


def training(name: str, asked: Asked, facts: Mapping[str, Any], steps: int, folder: Path) -> Figures:
    """Seconds of a peer's optimizer step: a whole training over its steps, in the second, warm pass."""
    samples = folder / "documents.jsonl"
    documents: Sequence[Sequence[int]] = [
        [prompt[place % len(prompt)] for place in range(asked.length)]
        for prompt in _cycle(facts["prompts"], asked.batch_size * steps)
    ]
    samples.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in documents), "utf-8")
    options = ["--model", facts["model"], "--samples", str(samples), "--passes", "2", "--dtype", facts["dtype"]]
    options += [*asked.loop("lora").training_options(), *(["--clean"] if name == "trl clean" else [])]
    return {"step": _script("naive_train.py", options, processes.quiet(), folder)["train"] / steps}


def _cycle(prompts: Sequence[Sequence[int]], count: int) -> list[Sequence[int]]:
    return [prompts[number % len(prompts)] for number in range(count)]


def _script(name: str, options: Sequence[str], environment: Mapping[str, str], folder: Path) -> dict[str, float]:
    return processes.script(BENCH / "peers" / name, options, environment, DEADLINE, folder)
