"""The command line of every benchmark: options, results file, table, targets and exit code.

Exit codes:
- 0: measured. A missed target is a result.
- 1: a condition that must hold does not, or nothing could be measured.
- 2: the user can mend it.
- 130: interrupted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from autophage.errors import AutophageError
from harness.facts import facts
from harness.rows import File, Measurement, results_file, table
from harness.targets import Target
from harness.turns import Budget

REPEATS = 5


@dataclass
class BenchmarkResults:
    """Findings of a benchmark so far. `broken` names conditions that must hold and do not."""

    name: str
    parameters: dict[str, object]
    file: File | None
    json: bool
    rows: list[Measurement] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=facts)

    def add(self, rows: Sequence[Measurement], **parameters: object) -> None:
        """Keep rows, and write them down at once."""
        self.rows += rows
        for row in rows:
            self._write(row.record(self.name, self.parameters | parameters, self.facts))

    def judge(self, *targets: Target) -> None:
        self.targets += targets
        for target in targets:
            self._write(target.record(self.name) | {"parameters": self.parameters} | self.facts)

    def _write(self, record: Mapping[str, object]) -> None:
        if self.file:
            self.file.append(record)
        if self.json:
            print(json.dumps(record, default=str), flush=True)

    def print(self, quick: bool) -> None:
        if self.json:
            return
        where = f"{self.facts['device']}, {', '.join(f'{k} {v}' for k, v in self.facts['versions'].items())}"  # type: ignore[attr-defined]
        print(f"{self.name}: {where}, commit {self.facts['commit']}, {self.facts['date']}")
        print(table(self.rows))
        for line in self.remarks:
            print(f"\n{line}")
        if self.targets:
            aside = " (a quick run does not judge them)" if quick else ""
            print(f"\nTargets on two CPU cores{aside}:")
            print("\n".join(target.line() for target in self.targets))
        if self.file:
            print(f"\nRows are in {self.file.path}")


MeasureFunction = Callable[[argparse.Namespace, Budget, BenchmarkResults], None]
Worker = Callable[[Mapping[str, Any], Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. `minutes` is the default budget on two quiet CPU cores. Nothing starts after it."""

    name: str
    description: str
    example: str
    minutes: float
    measure: MeasureFunction
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    workers: Mapping[str, Worker] = field(default_factory=dict)

    def main(self, argv: Sequence[str] | None = None) -> int:
        tokens = list(sys.argv[1:] if argv is None else argv)
        try:
            if tokens[:1] == ["--worker"]:
                return self._work(tokens[1], Path(tokens[2]))
            signal.signal(signal.SIGTERM, _interrupt)
            return self._measure(self.parser().parse_args(tokens))
        except AutophageError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    def parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=f"autophage bench {self.name}",
            description=self.description,
            epilog=f"Example: {self.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("--repeats", type=positive, default=REPEATS, help=f"turns of each contender ({REPEATS})")
        parser.add_argument(
            "--budget",
            type=float,
            default=self.minutes,
            metavar="MINUTES",
            help=f"time after which nothing starts ({self.minutes:g})",
        )
        parser.add_argument(
            "--quick", action="store_true", help="one turn of the smallest model, to check that it works"
        )
        parser.add_argument(
            "--out", type=Path, metavar="FILE", help="append lines of JSON to this file (bench/results/...)"
        )
        parser.add_argument("--json", action="store_true", help="print lines of JSON instead of the table")
        self.options(parser)
        return parser

    def _measure(self, chosen: argparse.Namespace) -> int:
        if chosen.quick:
            chosen.repeats = 1
        parameters = {key: value for key, value in vars(chosen).items() if key not in ("out", "json", "dry_run")}
        results = BenchmarkResults(self.name, parameters, None, chosen.json)
        # A quick run proves that the benchmark works; its figures are kept only where somebody asks for them.
        if chosen.out or not (chosen.quick or getattr(chosen, "dry_run", False)):
            device, date = str(results.facts["device"]), str(results.facts["date"])
            results.file = File(chosen.out or results_file(self.name, device, date))
        self.measure(chosen, Budget(60 * chosen.budget), results)
        results.print(chosen.quick)
        for line in results.broken:
            print(f"error: {line}", file=sys.stderr)
        measured = getattr(chosen, "dry_run", False) or any(row.values for row in results.rows)
        return 0 if measured and not results.broken else 1

    def _work(self, worker: str, folder: Path) -> int:
        """The other end of `processes.work`."""
        spec = json.loads((folder / "spec.json").read_text("utf-8"))
        answer = self.workers[worker](spec, folder)
        (folder / "answer.json").write_text(json.dumps(answer), "utf-8")
        return 0


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """Leave as on Ctrl-C, with every process ended that was started here."""
    raise KeyboardInterrupt("terminated")


def positive(text: str) -> int:
    """An integer of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def counts(text: str) -> list[int]:
    """`16,64` as a list of positive integers, for argparse."""
    return [positive(part) for part in text.split(",")]
