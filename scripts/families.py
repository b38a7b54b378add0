"""Run one generation of a tiny model of every family, and tabulate what works in `docs/guide/models.md`.

    python scripts/families.py                         # every row, a quarter of an hour on two CPU cores
    python scripts/families.py llama-lora gpt2-full    # some rows; the others are kept as they are
    python scripts/families.py --dry                   # every row, and nothing is kept
    python scripts/families.py --list                  # the names of all rows
    python scripts/families.py --table                 # the tables from the kept rows; nothing runs

A row is a model (of a family, or a folder with one property changed) and `model.method`. What a run refuses early is refused. The
rest runs as `autophage.loop`: the engine's stages with vLLM in one process, forked from one that has imported all.
Where vLLM runs the code of transformers, it changes the trainer's classes, so `autophage run` runs instead.
The script returns 1 if a row fails, or is refused after something has started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from family_table import KEPT, METHODS, PAGE, WORKS, kept, page_with_tables
from tiny_models import FAMILIES, PLAIN, Variant, lines, make

from autophage.errors import UserError
from autophage.host.vllm_window import require
from autophage.loop import run_loop  # first: it sets the environment of torch and vLLM
from autophage.recipe import load_recipe
from autophage.runs.execute import refuse_early
from autophage.sampler.families import runs_transformers_code

SOUND = (WORKS, "refused early")
"""Outcomes that a user can live with: a run, or a message before anything has started."""
VARIANTS: Mapping[str, tuple[str, str, Variant]] = {
    "no-pad": ("llama", "no padding token", Variant(pad=None)),
    "pad-is-end": ("llama", "the padding token is the end token", Variant(pad="<|end|>")),
    "no-start": ("llama", "no start token", Variant(start=False)),
    "bfloat16": ("llama", "weights in bfloat16", Variant(dtype="bfloat16")),
    "shards": ("llama", "weights in several files", Variant(shard="100KB")),
    "spare-rows": ("llama", "an embedding with rows that no token has", Variant(spare_rows=12)),
    "tied": ("llama", "an LM head tied to the embedding", Variant(tied=True)),
    "two-ends": ("llama", "two end tokens in generation_config.json", Variant(two_ends=True)),
    "window": ("mistral", "a sliding window of 16 tokens", Variant(settings={"sliding_window": 16})),
    "untied": ("gpt2", "an LM head of its own", Variant(tied=False)),
    "small-heads": ("llama", "heads of 16 numbers", Variant(heads=4)),
}
"""Name -> family, the property in words, and the variant."""
SETTINGS = (
    *("generations=1", "source.block=16", "source.continuation=8", "sample.count=8", "sample.concurrency=8"),
    *("model.rank=4", "train.epochs=1", "train.batch_size=4", "measure.documents=8", "measure.resamples=100"),
    *("measure.reference=100", "control.enabled=false"),
)  # fmt: skip
LIMIT = 200
"""Most seconds of a row."""
WARM = (
    "autophage.sampler.engine",
    "trl",
    "peft",
    "vllm",
    "vllm.model_executor.models.registry",
    "vllm.v1.engine.llm_engine",
)
"""Modules that every row imports late. Their import takes longer than a row."""


@dataclass(frozen=True)
class Row:
    """A model and a method."""

    name: str
    family: str
    method: str
    told: str = ""
    variant: Variant = PLAIN


def rows() -> dict[str, Row]:
    """Return every row by name."""
    plain = [Row(f"{family}-{method}", family, method) for family in FAMILIES for method in METHODS]
    varied = [
        Row(f"{name}-{method}", family, method, told, variant)
        for name, (family, told, variant) in VARIANTS.items()
        for method in METHODS
    ]
    return {row.name: row for row in (*plain, *varied)}


def run(row: Row, folder: Path) -> dict[str, Any]:
    """Run a row in a child process. Return what happened. The child's output is in `folder / "log"`."""
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            _run_here(row, folder)
        finally:
            os._exit(0)  # whatever happened, the parent finds no answer, or one
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() - begun > LIMIT:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.1)
    answer = folder / "answer.json"
    found = json.loads(answer.read_text("utf-8")) if answer.exists() else {"outcome": "died", "message": ""}
    return {
        "family": row.family,
        "method": row.method,
        "told": row.told,
        **found,
        "seconds": round(time.monotonic() - begun, 1),
        "vllm": " ".join(require()),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _run_here(row: Row, folder: Path) -> None:
    """Run a row in this process, and write the answer to `folder / "answer.json"`."""
    log = os.open(folder / "log", os.O_RDWR | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder)
    Path("text.txt").write_text("".join(lines(1500)), "utf-8")
    make(Path(row.family), row.family, row.variant)
    asked = [f"model.path={row.family}", f"model.method={row.method}", "source.path=text.txt", *SETTINGS]
    answer: dict[str, Any] = {"outcome": "refused early", "message": ""}
    try:
        refuse_early(load_recipe("text", asked))
        answer["outcome"] = "refused late"
        if runs_transformers_code(json.loads(Path(row.family, "config.json").read_text("utf-8"))["architectures"][0]):
            _command(asked)
        else:
            run_loop("text", Path("run"), asked)
        answer = {"outcome": WORKS, "message": "", "canary": _canary(Path("run"))}
    except UserError as refusal:
        answer["message"] = str(refusal).replace(f"{folder}/", "")
    except Exception as failure:
        traceback.print_exc()
        answer = {"outcome": "fails", "message": f"{type(failure).__name__}: {failure}"}
    Path("answer.json").write_text(json.dumps(answer), "utf-8")


def _command(asked: Sequence[str]) -> None:
    """Run the command, whose sampler and trainer are processes of their own."""
    settings = [part for one in asked for part in ("--set", one)]
    subprocess.run([sys.executable, "-m", "autophage", "run", "text", "--out", "run", *settings], check=True)


def _canary(out: Path) -> float:
    """Return the largest difference between the log-probs of sampler and trainer, in nats, of all generations."""
    manifests = [json.loads(path.read_text("utf-8")) for path in out.glob("arms/*/gen-*/manifest.json")]
    return float(max(one["weights"]["canary_nats"] for one in manifests))


def tabulate() -> None:
    """Write the tables of the page."""
    PAGE.write_text(page_with_tables(PAGE.read_text("utf-8"), kept()), "utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run the named rows, or all; keep and tabulate them. Return 1 if a row neither works nor is refused early."""
    every = rows()
    if "--list" in arguments:
        print("\n".join(every))
        return 0
    if "--table" in arguments:
        tabulate()
        return 0
    asked = [name for name in arguments if name != "--dry"] or list(every)
    if unknown := [name for name in asked if name not in every]:
        print(f"there is no row {unknown[0]}; --list names all", file=sys.stderr)
        return 2
    for name in WARM:
        import_module(name)
    bad = 0
    for name in asked:
        with tempfile.TemporaryDirectory(prefix="family-") as folder:
            found = run(every[name], Path(folder))
            if found["outcome"] not in SOUND:
                bad += 1
                print((Path(folder) / "log").read_text("utf-8")[-3000:], file=sys.stderr)
        print(name, json.dumps(found), flush=True)
        if "--dry" in arguments:
            continue
        rows_kept = {**kept(), name: found}
        KEPT.write_text(
            json.dumps({one: rows_kept[one] for one in every if one in rows_kept}, indent=1) + "\n", "utf-8"
        )
    if "--dry" not in arguments:
        tabulate()
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
