"""Sampler and trainer at once against taking turns: `autophage bench overlap`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from harness import engine, processes, runs
from harness.command import Benchmark, BenchmarkResults, positive
from harness.rows import OURS, Measurement, rows_of, values_of
from harness.statistics import ratios
from harness.subject import Loop, add_options, loop_of
from harness.turns import Budget, Figures, take_turns

DESCRIPTION = """One run of 4 arms with devices = "serial", and the same run with devices = "disjoint".

`working` lasts from the first stage to the end. `sample` and `train` are the times in which at least one arm is at it.
`overlap efficiency` is max(sample, train) / working, with sample and train of the serial run of the same turn. At 1 the
shorter of the two is hidden entirely. `speed-up` is working(serial) / working(disjoint).

Sampling keeps two CPU cores busy, so that nothing is left to overlap with. The two modes are expected to be equal
there, and the figure is the cost of running both at once. The benchmark is meant for two GPUs.

On two quiet cores a turn takes about 2 minutes."""
ARMS = 4
UNITS = dict.fromkeys(("wall", "working", "sample", "train", "swap", "measure", "commit"), "s")


def options(parser: argparse.ArgumentParser) -> None:
    add_options(parser)
    parser.add_argument("--arms", type=positive, default=ARMS, help=f"number of arms ({ARMS})")
    parser.add_argument("--samples", type=positive, default=64, help="samples of each arm and generation (64)")
    parser.add_argument("--generations", type=positive, default=2, help="models trained after model 0 (2)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of every run's recipe")


def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
    arms = 2 if chosen.quick else chosen.arms
    small = {"samples": 8, "generations": 1} if chosen.quick else {}
    own = {"samples": chosen.samples, "generations": chosen.generations, "seeds": list(range(1, arms + 1))}
    loop = loop_of(chosen, **(own | small))
    if not chosen.quick:  # the base model, so that no run has to train it
        processes.work(Path(__file__), "prepare", loop.as_spec(), runs.DEADLINE)
    with tempfile.TemporaryDirectory(prefix="autophage-bench-") as name:
        folder, turns = Path(name), {"serial": 0, "disjoint": 0}

        def run(devices: str) -> Figures:
            turns[devices] += 1
            own = Loop(**{**vars(loop), "devices": devices})
            return runs.execute(own, folder / f"{devices}-{turns[devices]}", chosen.set)

        contenders = {"serial": lambda: run("serial"), "disjoint": lambda: run("disjoint")}
        taken = take_turns(contenders, chosen.repeats, budget)
    point = f"K {arms}"
    rows = rows_of(point, taken, UNITS)
    results.add(rows + compared(rows, point), arms=arms, loop=vars(loop))


def compared(rows: list[Measurement], point: str) -> list[Measurement]:
    """Gain of overlapping, for each turn."""

    def value(contender: str, figure: str) -> list[float]:
        return values_of(rows, point, contender, figure)

    longer = [max(pair) for pair in zip(value("serial", "sample"), value("serial", "train"), strict=True)]
    found = [
        Measurement(point, f"{OURS} {name}", "overlap efficiency", "share", ratios(longer, value(name, "working")))
        for name in ("serial", "disjoint")
    ]
    speedup = ratios(value("serial", "working"), value("disjoint", "working"))
    return [row for row in [*found, Measurement(point, f"{OURS} disjoint", "speed-up", "x", speedup)] if row.values]


BENCHMARK = Benchmark(
    "overlap",
    DESCRIPTION,
    "autophage bench overlap --repeats 5",
    minutes=12,
    measure=measure,
    options=options,
    workers={"prepare": engine.prepare},
)
main = BENCHMARK.main

if __name__ == "__main__":
    sys.exit(main())
