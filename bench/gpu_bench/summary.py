"""The rows of a file as tables: kernels, tests, and everything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpu_bench.evidence import Row
from harness.rows import OURS, Measurement, aligned, figure, table

KERNEL_HEADER = ("contender", "method", "", "ms", "of the bound", "x ours", "error")
TEST = "test"


def measurements(rows: Iterable[Row]) -> list[Measurement]:
    """The last row of each figure, kernels and passed tests aside. A failure is left out if a later attempt gave figures."""
    found: dict[tuple[str, str, str], Measurement] = {}
    for row in rows:
        if "ms" in row or (row["contender"] == TEST and row["values"]):
            continue
        one = Measurement(row["point"], row["contender"], row["figure"], row["unit"], row["values"], row["note"])
        found[one.point, one.contender, one.figure] = one
    succeeded = {(one.point, one.contender) for one in found.values() if one.values}
    return [one for one in found.values() if one.values or (one.point, one.contender) not in succeeded]


def kernels(rows: Iterable[Row]) -> list[str]:
    """Times of the kernels by point, with shares of the bound and multiples of this repository's time."""
    found = {(row["name"], row["contender"], row["method"]): row for row in rows if "ms" in row}
    lines: list[str] = []
    for point in dict.fromkeys(name for name, _, _ in found):
        here = [row for row in found.values() if row["name"] == point]
        timed = [row for row in here if row["ms"] is not None]
        own = {row["method"]: row["ms"] for row in timed if row["contender"] == OURS}
        cells = [KERNEL_HEADER, *(_cells(row, own.get(row["method"])) for row in timed)]
        lines += ["", f"{point}    bound {here[0]['ideal_ms']:.4g} ms", *(aligned(cells) if timed else [])]
        lines += [f"  {row['contender']}: {row['note']}" for row in here if row["ms"] is None]
    return lines


def _cells(row: Row, own: float | None) -> tuple[str, ...]:
    times = f"{row['ms'] / own:.2f}" if own else ""
    error = "" if row["error"] is None else f"{row['error']:.0e}"
    return row["contender"], row["method"], "", figure(row["ms"]), f"{row['fraction_of_ideal']:.0%}", times, error


def tests(rows: Iterable[Row]) -> list[str]:
    """Number of tests that passed and failed at their last attempt."""
    last = {row["point"]: row for row in rows if row.get("contender") == TEST}
    passed = sum(bool(row["values"]) for row in last.values())
    failed = sum(row["note"].startswith("failed") for row in last.values())
    return ["", f"tests of the kernels: {passed} passed, {failed} failed"] if last else []


def text(rows: Sequence[Row]) -> str:
    return "\n".join([*kernels(rows), *tests(rows), table(measurements(rows))])
