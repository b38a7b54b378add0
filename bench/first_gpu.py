"""Measure the most telling first on a GPU, in ten minutes: `python bench/first_gpu.py`.

This file is the command line, and the entry of each step's process. The package `gpu_bench` measures. README.md explains the
rows.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gpu_bench import evidence, plan, session, summary

from harness.facts import device_name, facts  # isort: skip  (gpu_bench makes it findable)
from harness.rows import results_file  # isort: skip

DESCRIPTION = """On one GPU, with random weights in the shapes of Llama 3.2 1B and Llama 3.1 8B, most important first:

{parts}

Part a needs torch and triton only, and pytest for the tests; it takes less than five minutes. Part d measures the trainer alone
where vllm is missing. Each step is a process with a deadline. A row is on the disk as soon as it is known. A step that fails
leaves a row with the reason. A step that does not fit into --budget is named and left out: the same command with the same --out
goes on with it. Two commands of 540 s hold all parts. The weights of 8B take 16 GB in /dev/shm, or in AUTOPHAGE_CACHE.

Exit codes: 0 measured, 1 a step failed or nothing was measured, 2 a mistake in the command, 130 interrupted."""


def parser() -> argparse.ArgumentParser:
    parts = "\n".join(f"{letter}  {text}" for letter, text in plan.PARTS.items())
    made = argparse.ArgumentParser(
        prog="bench/first_gpu.py",
        description=DESCRIPTION.format(parts=parts),
        epilog="Example: python bench/first_gpu.py --budget 540 --out first.jsonl",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--budget", type=float, metavar="SECONDS", help=f"time of the whole command ({plan.BUDGET:g})")
    made.add_argument("--only", default="", metavar="LIST", help="parts (a,b) or steps (tax-8b)")
    made.add_argument("--quick", action="store_true", help="the smallest shape, also on a CPU, to check that it works")
    made.add_argument("--dry-run", action="store_true", help="print the plan on any machine; nothing runs")
    made.add_argument("--out", type=Path, metavar="FILE", help="append lines of JSON to this file (bench/results/...)")
    made.add_argument("--json", action="store_true", help="print the rows instead of the table")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    tokens = list(sys.argv[1:] if argv is None else argv)
    if tokens[:1] == ["--worker"]:
        return work(tokens[1], Path(tokens[2]))
    chosen = parser().parse_args(tokens)
    try:
        steps = plan.chosen(
            plan.quick() if chosen.quick else plan.full(), [one for one in chosen.only.split(",") if one]
        )
    except ValueError as error:
        return refuse(str(error))
    budget = chosen.budget or (plan.QUICK_BUDGET if chosen.quick else plan.BUDGET)
    if chosen.dry_run:
        print(plan.shown(steps, budget, device_name()))
        return 0
    gpu = session.gpu_name()
    if not (chosen.quick or gpu):
        return refuse("no GPU here: NVIDIA's driver does not answer. --dry-run prints the plan, --quick runs on a CPU")
    signal.signal(signal.SIGTERM, _interrupt)
    known = facts() | ({"device": gpu} if gpu else {})
    out = chosen.out or results_file("first-gpu", str(known["device"]), str(known["date"]))
    try:
        failed = session.run(Path(__file__), steps, budget, out, known, quick=chosen.quick)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return report(out, failed=failed, as_json=chosen.json)


def report(out: Path, *, failed: bool, as_json: bool) -> int:
    """Print every row of the file, those of earlier commands too. Return the exit code."""
    rows = evidence.read(out)
    if as_json:
        print(out.read_text("utf-8"), end="")
    else:
        print(summary.text(rows))
        print(f"\nRows are in {out}")
    measured = any(row.get("values") or row.get("ms") is not None for row in rows)
    return int(failed or not measured)


def work(name: str, folder: Path) -> int:
    """The process of a step, or of one side of a step."""
    if name in plan.SIDES:
        from gpu_bench import training

        return training.side(name, folder)
    return session.work(workers(name), name, folder)


def workers(name: str) -> dict[str, session.Worker]:
    """Import what the step needs. The kernels run where the engine cannot be imported."""
    from gpu_bench import kernels

    if name in ("kernels", "tests", "compiled"):
        return {"kernels": kernels.kernels, "tests": kernels.tests, "compiled": kernels.compiled}
    from gpu_bench import sampling, training

    return {
        "swap": sampling.swap,
        "arm": sampling.arm,
        "plain": sampling.plain,
        "tax": sampling.tax,
        "train": training.train,
        "both": training.both,
    }


def refuse(why: str) -> int:
    print(f"error: {why}", file=sys.stderr)
    return 2


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """Leave as on Ctrl-C, with every process ended that was started here."""
    raise KeyboardInterrupt("terminated")


if __name__ == "__main__":
    sys.exit(main())
