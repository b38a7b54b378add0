"""Many arms in one run against as many runs: `autophage bench arms`."""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import engine, processes, runs
from harness.command import Benchmark, BenchmarkResults, counts, positive
from harness.rows import OURS, Measurement, rows_of, values_of
from harness.statistics import ratios, spread
from harness.subject import Loop, add_options, loop_of
from harness.targets import Target
from harness.turns import Budget, Figures, take_turns

DESCRIPTION = """K arms of 64 samples each in one run, against runs of one arm.

together K   one `autophage run` with K arms (seeds), from its start to its end
alone        one `autophage run` with one of them

`wall` is the whole process with its start-up. `working` lasts from the first stage to the end. `efficiency` is K x
working(alone) / working(together). At 1 there is no gain and no loss beyond the start. `of K runs` is wall(together) /
(K x wall(alone)), the time as a share of K runs one after the other. The runs differ in their seeds only, so each turn
runs one of them and counts it K times. --separate runs all K.

On two quiet cores a turn of `alone` and 8 arms takes about 2 minutes. The curve 1,2,4,8,16 takes about 6 minutes a
turn."""
BOUND = 1 / 3
JUDGED = 8
UNITS = dict.fromkeys(("wall", "working", "sample", "train", "swap", "measure", "commit"), "s")


def options(parser: argparse.ArgumentParser) -> None:
    add_options(parser)
    parser.add_argument("--arms", type=counts, default=[JUDGED], help=f"list of K ({JUDGED})")
    parser.add_argument("--samples", type=positive, default=64, help="samples of each arm and generation (64)")
    parser.add_argument("--generations", type=positive, default=2, help="models trained after model 0 (2)")
    parser.add_argument(
        "--separate", action="store_true", help="run all K separate runs instead of one that counts K times"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of every run's recipe")


def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
    arms = [2] if chosen.quick else chosen.arms
    small = {"samples": 8, "generations": 1} if chosen.quick else {}
    own = {"samples": chosen.samples, "generations": chosen.generations}
    loop = loop_of(chosen, **(own | small))
    if not chosen.quick:  # the base model, so that no run has to train it
        processes.work(Path(__file__), "prepare", loop.as_spec(), runs.DEADLINE)
    with tempfile.TemporaryDirectory(prefix="autophage-bench-") as folder:
        series = RunSeries(loop, Path(folder), chosen.set)
        contenders: dict[str, Callable[[], Figures]] = {"alone": lambda: series.separate(1)}
        for count in arms:
            contenders[f"together {count}"] = series.together(count)
            if chosen.separate and count > 1:
                contenders[f"separate {count}"] = lambda count=count: series.separate(count)  # type: ignore[misc]
        taken = take_turns(contenders, chosen.repeats, budget)
    for count in arms:
        point = f"K {count}"
        names = [name for name in ("alone", f"together {count}", f"separate {count}") if name in taken]
        rows = rows_of(point, {name: taken[name] for name in names}, UNITS)
        results.add(rows + _compared(rows, point, count), arms=count, loop=vars(loop))
    point = f"K {JUDGED}"
    values = values_of(results.rows, point, OURS, f"of {JUDGED} runs")
    what = f"time of {JUDGED} arms in one run, of the time of {JUDGED} runs"
    results.judge(Target(what, spread(values).median if values else None, BOUND, "at most"))


def _compared(rows: list[Measurement], point: str, count: int) -> list[Measurement]:
    def value(contender: str, figure: str) -> list[float]:
        return values_of(rows, point, contender, figure)

    separate = value(f"separate {count}", "wall") or [count * wall for wall in value("alone", "wall")]
    compared = {
        "efficiency": [
            count * ratio for ratio in ratios(value("alone", "working"), value(f"together {count}", "working"))
        ],
        f"of {count} runs": ratios(value(f"together {count}", "wall"), separate),
    }
    return [Measurement(point, OURS, figure, "share", values) for figure, values in compared.items() if values]


class RunSeries:
    """Runs of one experiment, each with its own seeds and folder."""

    def __init__(self, loop: Loop, folder: Path, overrides: list[str]) -> None:
        self._loop = loop
        self._folder = folder
        self._overrides = overrides
        self._numbers = itertools.count(1)

    def together(self, count: int) -> Callable[[], Figures]:
        return lambda: self._run([next(self._numbers) for _ in range(count)])

    def separate(self, count: int) -> Figures:
        """The sums over `count` runs of one arm, one after the other."""
        found = [self._run([next(self._numbers)]) for _ in range(count)]
        return {name: sum(one[name] for one in found) for name in found[0]}

    def _run(self, seeds: list[int]) -> dict[str, float]:
        loop = Loop(**{**vars(self._loop), "seeds": seeds})
        return runs.execute(loop, self._folder / f"run-{seeds[0]}", self._overrides)


BENCHMARK = Benchmark(
    "arms",
    DESCRIPTION,
    "autophage bench arms --arms 1,2,4,8,16 --budget 35",
    minutes=15,
    measure=measure,
    options=options,
    workers={"prepare": engine.prepare},
)
main = BENCHMARK.main

if __name__ == "__main__":
    sys.exit(main())
