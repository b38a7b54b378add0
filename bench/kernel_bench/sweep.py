"""Order of measurement: every contender at every point, the core first, until the budget is spent.

The module knows the order and the tolerated failures. Timing and tables are elsewhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch

from harness.facts import version
from kernel_bench import field as fields
from kernel_bench.accuracy import largest_error, truth
from kernel_bench.contenders import OURS, Absent, Implementation, Outputs
from kernel_bench.inputs import Inputs, make
from kernel_bench.points import SHORT, KernelPoint
from kernel_bench.report import KernelMeasurement
from kernel_bench.timing import REPEATS, Call, Timing, flushed, graphed, interleaved, peak_bytes

COLD_BYTES, COLD_SETS = 200_000_000, 4
"""Least bytes of inputs, and least sets of them, that a cold measurement rotates over. No cache then holds a set until its next
turn."""


@dataclass
class Sweep:
    """Points to measure on one device, and the findings."""

    points: Sequence[KernelPoint]
    device: torch.device
    budget_s: float
    emit: Callable[[KernelMeasurement], None]
    only: str = ""
    """Of contenders: a regular expression that is found in the name."""
    repeats: int = REPEATS
    done: Collection[tuple[str, str]] = ()
    """Names of points with contenders that are left out, as they were measured before."""
    absent: list[tuple[KernelPoint, Absent]] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)
    failed: bool = False

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.budget_s
        self._inputs: tuple[object, Inputs, dict[str, torch.Tensor]] | None = None

    def run(self) -> None:
        entries = [(point, entry) for point in self.points for entry in fields.field(point, self.device)]
        self.absent = [(point, entry) for point, entry in entries if isinstance(entry, Absent)]
        present = [
            (point, entry)
            for point, entry in entries
            if isinstance(entry, Implementation)
            and re.search(self.only, entry.name)
            and (point.name, entry.name) not in self.done
        ]
        if self.device.type == "cuda":
            for job in sorted(present, key=lambda job: not job[1].core):  # stable: points stay in their order
                self._unless_spent(job[0], [job[1]])
        else:
            for point in self.points:
                self._unless_spent(point, [contender for at, contender in present if at == point])

    def _unless_spent(self, point: KernelPoint, contenders: list[Implementation]) -> None:
        if time.monotonic() >= self._end:
            self.unmeasured += [f"{point.name}: {contender.name}" for contender in contenders]
        elif self.device.type == "cuda":
            self._on_gpu(point, contenders[0])
        elif contenders:
            self._on_cpu(point, contenders)

    def _on_gpu(self, point: KernelPoint, contender: Implementation) -> None:
        try:
            self._measure_on_gpu(point, contender)
        except torch.OutOfMemoryError:
            self._fail(point, contender, "out of memory")
        except Exception as error:  # a peer may break in any way at a shape, and the others still get their turn
            self._fail(point, contender, f"failed: {in_short(error)}")
        if contender.overwrites:
            self._inputs = None

    def _measure_on_gpu(self, point: KernelPoint, contender: Implementation) -> None:
        if point.direction == "backward" and not contender.backward_alone:
            self._fail(point, contender, "its forward pass makes the gradients")
            return
        inputs, exact = self._at(point)
        row = self._first(point, contender, inputs, exact)
        call = call_of(point, contender, inputs)
        peak = peak_bytes(call, self.device)
        self._emit(row, "flushed", flushed(call), peak)
        if point.rows <= SHORT and point.direction == "forward":
            if not contender.captures:
                self._fail(point, contender, "waits for the device, so it cannot be timed inside a CUDA graph")
                return
            sets = max(COLD_SETS, -(-COLD_BYTES // inputs.bytes))
            rotated = [inputs, *(make(point, self.device, seed) for seed in range(1, sets))]
            self._emit(row, "cold", graphed([call_of(point, contender, one) for one in rotated]), peak)
            self._emit(row, "hot", graphed([call]), peak)

    def _on_cpu(self, point: KernelPoint, contenders: list[Implementation]) -> None:
        inputs, exact = self._at(point)
        rows, calls, peaks = {}, {}, {}
        for contender in contenders:
            try:
                rows[contender.name] = self._first(point, contender, inputs, exact)
                calls[contender.name] = call_of(point, contender, inputs)
                peaks[contender.name] = peak_bytes(calls[contender.name], self.device)
            except Exception as error:  # as on a GPU
                calls.pop(contender.name, None)
                self._fail(point, contender, f"failed: {in_short(error)}")
        for name, timing in interleaved(calls, self.repeats).items():
            self._emit(rows[name], "in turns", timing, peaks[name])

    def _at(self, point: KernelPoint) -> tuple[Inputs, dict[str, torch.Tensor]]:
        """Inputs and truth, kept from the job before where it had the same."""
        if self._inputs is None or self._inputs[0] != point.input_key:
            self._inputs = None  # before new ones are made: there may not be room for both
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            inputs = make(point, self.device)
            self._inputs = (point.input_key, inputs, truth(inputs))
        return self._inputs[1:]

    def _first(
        self, point: KernelPoint, contender: Implementation, inputs: Inputs, exact: dict[str, torch.Tensor]
    ) -> KernelMeasurement:
        """Result of the first call. It compiles, and shows the outputs and their errors."""
        outputs = contender.forward(inputs)
        return KernelMeasurement(
            point,
            contender.name,
            version(contender.package),
            gives(outputs),
            error=largest_error(outputs, exact),
            note=contender.note,
        )

    def _emit(self, row: KernelMeasurement, method: str, timing: Timing, peak: int) -> None:
        measured = {"method": method, "ms": timing.ms, "ms_low": timing.low, "ms_high": timing.high}
        self.emit(KernelMeasurement(**{**vars(row), **measured, "peak_bytes": peak}))

    def _fail(self, point: KernelPoint, contender: Implementation, why: str) -> None:
        self.failed |= contender.name == OURS
        self.emit(KernelMeasurement(point, contender.name, version(contender.package), note=why))


def call_of(point: KernelPoint, contender: Implementation, inputs: Inputs) -> Call:
    """Function to time: the forward pass, the backward pass of an earlier forward, or both."""
    if point.direction == "forward":
        return torch.no_grad()(lambda: contender.forward(inputs))
    if point.direction == "both":
        return lambda: gradients(contender.forward(inputs), inputs)
    outputs = contender.forward(inputs)
    return lambda: gradients(outputs, inputs, keep=True)


def gradients(outputs: Outputs, inputs: Inputs, keep: bool = False) -> tuple[torch.Tensor, ...]:
    """Of every output that has one, with incoming gradients of 1."""
    roots = [values for values in outputs.values() if values.requires_grad]
    return torch.autograd.grad(roots, inputs.leaves, [torch.ones_like(root) for root in roots], retain_graph=keep)


def in_short(error: Exception) -> str:
    """Its type, and the first line of what it says."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def gives(outputs: Outputs) -> str:
    return "all" if len(outputs) > 5 else ", ".join(outputs)
