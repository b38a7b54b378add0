"""Measurements as data and tables, and the targets of the reference on a CPU."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from harness.rows import aligned, figure
from kernel_bench.contenders import EAGER, OURS, Absent
from kernel_bench.machine import MachineFacts
from kernel_bench.points import KernelPoint, Limits

CPU_TIME, CPU_MEMORY = 1.5, 0.5
"""Largest time and peak memory of all statistics, as shares of those of log-softmax, gather and entropy."""


@dataclass(frozen=True)
class KernelMeasurement:
    """One contender at one point, measured by one method. `note` tells why `ms` is missing."""

    point: KernelPoint
    contender: str
    version: str = ""
    gives: str = ""
    method: str = ""
    ms: float | None = None
    ms_low: float | None = None
    ms_high: float | None = None
    peak_bytes: int | None = None
    error: float | None = None
    note: str = ""

    def record(self, machine: MachineFacts, limits: Limits) -> dict[str, object]:
        """Flat record for a file: the figures of the table, the place and the software."""
        ideal = self.point.ideal_ms(limits)
        derived: dict[str, object] = {"ideal_ms": ideal}
        if self.ms is not None:
            derived |= {
                "fraction_of_ideal": ideal / self.ms,
                "gb_per_s": self.point.bytes / self.ms / 1e6,
                "tflop_per_s": self.point.flops / self.ms / 1e9,
            }
        if self.peak_bytes is not None:
            derived["peak_of_logits"] = self.peak_bytes / self.point.logits_bytes
        point = asdict(self.point) | {"bytes": self.point.bytes, "flops": self.point.flops}
        measured = {key: value for key, value in asdict(self).items() if key != "point"}
        limit = {"limit_gb_per_s": limits.bandwidth / 1e9, "limit_tflop_per_s": limits.throughput / 1e12}
        return {"name": self.point.name} | point | measured | derived | limit | asdict(machine)


HEADER = (
    "contender",
    "gives",
    "method",
    "ms",
    "spread",
    "GB/s",
    "TFLOP/s",
    "ideal",
    "x ours",
    "peak MB",
    "logits",
    "error",
)


def table(rows: Sequence[KernelMeasurement], limits: Limits) -> str:
    """Table grouped by point, in the order of measurement. Contenders without a time follow with their notes."""
    lines: list[str] = []
    timed = [row for row in rows if row.ms is not None]
    for point in dict.fromkeys(row.point for row in timed):
        here = [row for row in timed if row.point == point]
        lines += ["", f"{point.name}    ideal {point.ideal_ms(limits):.4g} ms"]
        lines += aligned([HEADER, *(_cells(row, here, limits) for row in here)])
        lines += [f"  {row.contender}: {row.note}" for row in {row.contender: row for row in here if row.note}.values()]
    failed = [row for row in rows if row.ms is None]
    lines += ["", "Without a time:"] * bool(failed)
    lines += [f"  {row.point.name}: {row.contender}: {row.note}" for row in failed]
    return "\n".join(lines)


def _cells(row: KernelMeasurement, here: Sequence[KernelMeasurement], limits: Limits) -> tuple[str, ...]:
    ours = [other.ms for other in here if other.contender == OURS and other.method == row.method and other.ms]
    point, peak, ms = row.point, row.peak_bytes, row.ms or float("nan")
    return (
        row.contender,
        row.gives,
        row.method,
        figure(ms),
        f"{figure(row.ms_low)}-{figure(row.ms_high)}",
        figure(point.bytes / ms / 1e6),
        figure(point.flops / ms / 1e9) if point.flops else "",
        f"{point.ideal_ms(limits) / ms:.0%}",
        f"{ms / ours[0]:.2f}" if ours else "",
        "" if peak is None else figure(peak / 1e6),
        "" if peak is None else f"{peak / point.logits_bytes:.1%}",
        "" if row.error is None else f"{row.error:.0e}",
    )


def headlines(rows: Sequence[KernelMeasurement], limits: Limits) -> list[str]:
    """One line for each point and method: share of the ideal, and time as a multiple of others'."""
    lines = []
    for mine in rows:
        if mine.contender != OURS or not mine.ms or mine.peak_bytes is None:
            continue
        peers = [row for row in rows if row.point == mine.point and row.method == mine.method and row.contender != OURS]
        times = "".join(f", {mine.ms / row.ms:.2f}x the time of {row.contender}" for row in peers if row.ms)
        share, peak = mine.point.ideal_ms(limits) / mine.ms, mine.peak_bytes / mine.point.logits_bytes
        lines.append(
            f"  {mine.point.name} ({mine.method}): {share:.0%} of the ideal, peak {peak:.1%} of the logits{times}"
        )
    return lines


def absences(found: Iterable[tuple[KernelPoint, Absent]]) -> list[str]:
    """Absent contenders, with each reason and its number of points."""
    counts = Counter((absent.name, absent.reason) for _, absent in found)
    grouped = itertools.groupby(sorted(counts.items()), key=lambda item: item[0][0])
    return [
        f"  {name}: " + "; ".join(f"{reason} (points: {count})" for (_, reason), count in reasons)
        for name, reasons in grouped
    ]


def cpu_verdicts(rows: Sequence[KernelMeasurement]) -> list[str]:
    """Verdicts on the targets, for points with all statistics measured beside eager torch on a CPU."""
    lines = []
    for point in dict.fromkeys(row.point for row in rows if row.point.outputs == "all" and not row.point.hidden):
        here = {row.contender: row for row in rows if row.point == point}
        ours, eager = here.get(OURS), here.get(EAGER)
        if not (ours and eager and ours.ms and eager.ms and ours.peak_bytes and eager.peak_bytes):
            continue
        time, memory = ours.ms / eager.ms, ours.peak_bytes / eager.peak_bytes
        kept = "kept" if time <= CPU_TIME and memory <= CPU_MEMORY else "MISSED"
        lines.append(
            f"  {kept}: {point.name}: {time:.2f}x the time of eager torch (at most {CPU_TIME}), "
            f"{memory:.2f}x its peak memory (at most {CPU_MEMORY})"
        )
    return lines
