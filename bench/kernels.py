"""Measure the kernels of this repository and of others: time, bandwidth, share of the ideal, peak memory.

    python bench/kernels.py                          all points, most important first, within --budget
    python bench/kernels.py --only head              points or contenders whose name contains it
    python bench/kernels.py --dry-run --bandwidth 4.3 --tflops 790
    python bench/kernels.py --tune three,short       the constants of the launches

This file is the command line. The package `kernel_bench` measures. README.md explains the output.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

import torch

from kernel_bench import tune
from kernel_bench.contenders import Absent, Implementation
from kernel_bench.field import field
from kernel_bench.machine import describe, measure_limits
from kernel_bench.points import KernelPoint, Limits, cpu_points, gpu_points
from kernel_bench.report import KernelMeasurement, absences, cpu_verdicts, headlines, table
from kernel_bench.sweep import Sweep
from kernel_bench.timing import REPEATS

from harness.rows import File, aligned, results_file  # isort: skip  (kernel_bench makes it findable)

BUDGET_S = 540
"""Seconds after which nothing starts. Started work may take half a minute more. The whole should take ten minutes."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/kernels.py",
        description="Time, bandwidth, share of the ideal and peak memory of the kernels, beside those of others.",
        epilog="Example: python bench/kernels.py --only 'logits/three' --budget 120 --out rows.jsonl",
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: a GPU if there is one")
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="regular expression on names of points, see --list"
    )
    parser.add_argument("--contender", default="", metavar="PATTERN", help="regular expression on names of contenders")
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET_S,
        metavar="SECONDS",
        help=f"time after which nothing starts ({BUDGET_S})",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1, which other jobs disturb least)")
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help=f"turns on a CPU, at least 5 for a result ({REPEATS})"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="append lines of JSON to this file (bench/results/...)"
    )
    parser.add_argument("--json", action="store_true", help="print lines of JSON instead of the table")
    parser.add_argument("--list", action="store_true", help="list points and contenders; measure nothing")
    parser.add_argument(
        "--dry-run", action="store_true", help="print points with bytes, FLOPs and ideal time; measure nothing"
    )
    parser.add_argument("--bandwidth", type=float, metavar="TB/S", help="bandwidth of a dry run's ideal")
    parser.add_argument("--tflops", type=float, metavar="TFLOP/S", help="throughput of a dry run's ideal")
    parser.add_argument(
        "--tune", nargs="?", const="three,all", metavar="NAMES", help=f"sweep constants: {', '.join(tune.TUNINGS)}"
    )
    chosen = parser.parse_args(argv)
    if (chosen.bandwidth is None) != (chosen.tflops is None):
        parser.error("--bandwidth and --tflops go together")
    if chosen.tune and (unknown := set(chosen.tune.split(",")) - set(tune.TUNINGS)):
        parser.error(f"--tune knows {', '.join(tune.TUNINGS)}; got {', '.join(sorted(unknown))}")
    return chosen


def dry_run(points: list[KernelPoint], limits: Limits | None) -> str:
    cells = [("point", "", "", "MB", "GFLOP", "ideal ms")]
    for point in points:
        ideal = f"{point.ideal_ms(limits):.4g}" if limits else "-"
        cells.append((point.name, "", "", f"{point.bytes / 1e6:.1f}", f"{point.flops / 1e9:.1f}", ideal))
    return "\n".join(aligned(cells))


def listing(points: list[KernelPoint], device: torch.device) -> str:
    entries = [(point, entry) for point in points for entry in field(point, device)]
    lines = []
    for point in points:
        present = [entry.name for at, entry in entries if at == point and isinstance(entry, Implementation)]
        lines.append(f"{point.name}: {', '.join(present)}")
    absent = [(point, entry) for point, entry in entries if isinstance(entry, Absent)]
    return "\n".join([*lines, "", "Absent:", *absences(absent)])


def measure(chosen: argparse.Namespace, points: list[KernelPoint], device: torch.device) -> int:
    if device.type == "cpu":
        torch.set_num_threads(chosen.threads)
    machine, limits = describe(device), measure_limits(device)
    file, rows = File(chosen.out or results_file("kernels", machine.device, machine.date)), []

    def emit(row: KernelMeasurement) -> None:
        record = row.record(machine, limits)
        rows.append(row)
        file.append(record)
        if chosen.json:
            print(json.dumps(record), flush=True)
        else:
            shown = row.note if row.ms is None else f"{row.method} {row.ms:.4g} ms"
            print(f"{row.point.name}: {row.contender}: {shown}", file=sys.stderr, flush=True)

    sweep = Sweep(points, device, chosen.budget, emit, chosen.contender, chosen.repeats)
    sweep.run()
    if not chosen.json:
        print(
            f"{machine.device} ({machine.driver or 'no driver'}), torch {machine.torch}, triton {machine.triton}, ",
            end="",
        )
        print(f"commit {machine.commit}, {machine.date}")
        print(f"Measured: copy {limits.bandwidth / 1e9:.0f} GB/s, product {limits.throughput / 1e12:.4g} TFLOP/s")
        print(table(rows, limits))
        for title, lines in (
            ("This repository:", headlines(rows, limits)),
            ("Absent:", absences(sweep.absent)),
            (
                f"Not measured within the budget of {chosen.budget:.0f} s:",
                [f"  {line}" for line in sweep.unmeasured],
            ),
            ("Targets on a CPU:", cpu_verdicts(rows) if device.type == "cpu" else []),
        ):
            if lines:
                print("\n".join(["", title, *lines]))
        print(f"\nRows are in {file.path}")
    return int(sweep.failed)


def main(argv: list[str] | None = None) -> int:
    chosen = arguments(argv)
    if os.environ.get("TRITON_INTERPRET") == "1":
        print(
            "TRITON_INTERPRET=1 interprets kernels element by element, which is not worth timing. Unset it.",
            file=sys.stderr,
        )
        return 2
    device = torch.device(chosen.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    every = gpu_points() if device.type == "cuda" else cpu_points()
    points = [point for point in every if re.search(chosen.only, point.name)]
    if not points:
        print(f"No point matches --only {chosen.only!r}; --list shows them.", file=sys.stderr)
        return 2
    if chosen.dry_run:
        print(dry_run(points, Limits(1e12 * chosen.bandwidth, 1e12 * chosen.tflops) if chosen.tflops else None))
        return 0
    if chosen.list:
        print(listing(points, device))
        return 0
    if device.type == "cuda" and not torch.cuda.is_available():
        print("No GPU here (torch.cuda.is_available() is false); --dry-run and --list need none.", file=sys.stderr)
        return 2
    if chosen.tune:
        if device.type != "cuda":
            print("--tune needs a GPU: the constants are those of Triton launches.", file=sys.stderr)
            return 2
        machine = describe(device)
        file = File(chosen.out or results_file("tune", machine.device, machine.date))
        lines = tune.run(chosen.tune.split(","), device, chosen.budget, lambda row: file.append(row | vars(machine)))
        print("\n".join([*lines, "", f"Rows are in {file.path}"]))
        return 0
    return measure(chosen, points, device)


if __name__ == "__main__":
    sys.exit(main())
